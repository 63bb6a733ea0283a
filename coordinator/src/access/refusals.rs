//! What was refused, by cause: `quiver_refused_total{reason}`.

use std::sync::atomic::{AtomicU64, Ordering};

use proto::error::Reason;
use tonic::{Code, Status};

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Cause { $($(#[$doc])* $variant),+ }

        impl Cause {
            /// Every cause.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label of the counter.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

causes! {
    /// A call without a token that needs one.
    NoToken = "no_token",
    /// A token that the table does not know.
    UnknownToken = "unknown_token",
    /// A token whose time is over.
    ExpiredToken = "expired_token",
    /// A token that was revoked.
    RevokedToken = "revoked_token",
    /// A token of too small a role.
    Role = "role",
    /// A path that is nobody's.
    UnknownCall = "unknown_call",
    /// More calls than one caller may make.
    Rate = "rate",
    /// More connections than are served.
    Connections = "connections",
    /// A TLS handshake that failed, was too slow, or showed no certificate that is trusted.
    Handshake = "handshake",
    /// Bytes that no client of this port sends.
    Garbage = "garbage",
    /// A message above the limit.
    Oversized = "oversized",
    /// A message that makes no sense.
    Invalid = "invalid",
    /// A worker of another version.
    Version = "version",
    /// A write of an attempt that is no longer its job's newest.
    StaleAttempt = "stale_attempt",
    /// A write of another reign.
    StaleTerm = "stale_term",
    /// A call of a session that has ended.
    SessionLost = "session_lost",
    /// A call of a worker whose place is taken.
    Superseded = "superseded",
    /// A commit that names what is about to be deleted.
    Condemned = "condemned",
}

impl Cause {
    /// The cause of a refused call; none where something failed, or was only not found.
    pub(super) fn of(status: &Status) -> Option<Self> {
        match Reason::of(status) {
            Some(Reason::StaleAttempt) => Some(Self::StaleAttempt),
            Some(Reason::SessionLost) => Some(Self::SessionLost),
            Some(Reason::Superseded) => Some(Self::Superseded),
            Some(Reason::StaleTerm) => Some(Self::StaleTerm),
            Some(Reason::Condemned) => Some(Self::Condemned),
            Some(Reason::Version) => Some(Self::Version),
            None => match status.code() {
                // The transport's own word for a message above its limit; no service of ours uses it.
                Code::OutOfRange => Some(Self::Oversized),
                Code::InvalidArgument => Some(Self::Invalid),
                _ => None,
            },
        }
    }
}

/// The counts, since this process began.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Cause::ALL.len()]);

impl Refusals {
    /// Counts one.
    pub(crate) fn count(&self, cause: Cause) {
        self.0[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The count of one cause.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize].load(Ordering::Relaxed)
    }

    /// Every cause with its count.
    pub fn snapshot(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        Cause::ALL.iter().map(|cause| (*cause, self.of(*cause)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_count_and_name() {
        let refusals = Refusals::default();
        for (n, cause) in Cause::ALL.iter().enumerate() {
            (0..=n).for_each(|_| refusals.count(*cause));
        }
        for (n, (cause, count)) in refusals.snapshot().enumerate() {
            assert_eq!((cause, count), (Cause::ALL[n], n as u64 + 1));
            assert_eq!(Cause::ALL.iter().filter(|other| other.name() == cause.name()).count(), 1);
        }
    }
}
