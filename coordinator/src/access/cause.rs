//! What was refused, by cause: `quiver_refused_total{reason}`.

use proto::error::Reason;
use tonic::{Code, Status};

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Cause { $($(#[$doc])* $variant),+ }

        impl Cause {
            /// The label of the counter.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

causes! {
    /// A call without a token that needs one.
    NoToken = "NO_TOKEN",
    /// A token that the table does not know.
    UnknownToken = "UNKNOWN_TOKEN",
    /// A token whose time is over.
    ExpiredToken = "EXPIRED_TOKEN",
    /// A token that was revoked.
    RevokedToken = "REVOKED_TOKEN",
    /// A token of too small a role.
    Role = "ROLE",
    /// A path that is nobody's.
    UnknownCall = "UNKNOWN_CALL",
    /// More calls than one caller may make.
    Rate = "RATE",
    /// More connections than are served.
    Connections = "CONNECTIONS",
    /// A TLS handshake that failed, was too slow, or showed no certificate that is trusted.
    Handshake = "HANDSHAKE",
    /// Bytes that no client of this port sends.
    Garbage = "GARBAGE",
    /// A message above the limit.
    Oversized = "OVERSIZED",
    /// A message that makes no sense.
    Invalid = "INVALID",
    /// A worker of another version.
    Version = "VERSION",
    /// A write of an attempt that is no longer its job's newest.
    StaleAttempt = "STALE_ATTEMPT",
    /// A write of another reign.
    StaleTerm = "STALE_TERM",
    /// A call of a session that has ended.
    SessionLost = "SESSION_LOST",
    /// A call of a worker whose place is taken.
    Superseded = "SUPERSEDED",
    /// A commit that names what is about to be deleted.
    Condemned = "CONDEMNED",
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
