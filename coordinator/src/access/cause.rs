//! What was refused, by cause: `quiver_refused_total{reason}`.

use proto::error::Reason;
use tonic::{Code, Status};

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cause {
            $($(#[$doc])* $variant,)+
            /// A worker's call, for the reason that it is told.
            Told(Reason),
        }

        impl Cause {
            /// The label of the counter.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Told(reason) => reason.name(),
                }
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
}

impl Cause {
    /// The cause of a refused call; none where something failed, or was only not found.
    pub(super) fn of(status: &Status) -> Option<Self> {
        Reason::of(status).map(Self::Told).or(match status.code() {
            // The transport's own word for a message above its limit; no service of ours uses it.
            Code::OutOfRange => Some(Self::Oversized),
            Code::InvalidArgument => Some(Self::Invalid),
            _ => None,
        })
    }
}
