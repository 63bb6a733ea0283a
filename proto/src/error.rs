//! Error codes: what failed, whether trying again can help, and who has to act. The code travels with every failed attempt.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why an attempt or a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The input is wrong: a broken record, a shape that does not fit. Never retried.
    Data,
    /// The job's settings cannot be carried out. Never retried.
    Spec,
    /// Memory ran out.
    OutOfMemory,
    /// The loss or a gradient is not finite.
    NonFinite,
    /// A file or the object store could not be read or written.
    Storage,
    /// The runner process ended without a word; the culprit among its jobs is unknown.
    RunnerDied,
    /// No progress for too long.
    Stalled,
    /// The worker went away.
    WorkerLost,
    /// The call names an attempt that is no longer the job's newest.
    StaleAttempt,
    /// Anything else.
    Internal,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 10] = [
        Self::Data,
        Self::Spec,
        Self::OutOfMemory,
        Self::NonFinite,
        Self::Storage,
        Self::RunnerDied,
        Self::Stalled,
        Self::WorkerLost,
        Self::StaleAttempt,
        Self::Internal,
    ];

    /// The name on the wire and in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Spec => "spec",
            Self::OutOfMemory => "out_of_memory",
            Self::NonFinite => "non_finite",
            Self::Storage => "storage",
            Self::RunnerDied => "runner_died",
            Self::Stalled => "stalled",
            Self::WorkerLost => "worker_lost",
            Self::StaleAttempt => "stale_attempt",
            Self::Internal => "internal",
        }
    }

    /// Whether another attempt can succeed without a person changing something.
    pub const fn retryable(self) -> bool {
        !matches!(self, Self::Data | Self::Spec | Self::StaleAttempt)
    }

    /// Whether the machine may be at fault, so that the next attempt had better run on another one.
    pub const fn blames_machine(self) -> bool {
        matches!(self, Self::Storage | Self::RunnerDied | Self::Stalled | Self::Internal)
    }

    /// Whether a failure with this code spends the job's budget of tries.
    pub const fn spends_budget(self) -> bool {
        !matches!(self, Self::RunnerDied | Self::WorkerLost | Self::StaleAttempt)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is no error code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an error code")]
pub struct UnknownCode(pub String);

impl FromStr for ErrorCode {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|code| code.name() == text).ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

/// Why the coordinator refuses a worker's call with `FAILED_PRECONDITION`. It travels in the metadata entry [`Reason::METADATA`] and begins
/// the status message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The attempt is not, or no longer, the newest of its job: kill it and leave its objects.
    StaleAttempt,
    /// The session's lease ran out: register again with all that is held.
    SessionLost,
    /// A newer process of the same name has taken the worker's place: kill everything and exit.
    Superseded,
    /// Another coordinator reigns: register again.
    StaleTerm,
    /// The garbage collector is about to delete an object that the result names: wait, upload again, commit again.
    Condemned,
}

impl Reason {
    /// Key of the metadata entry.
    pub const METADATA: &'static str = "quiver-reason";

    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::StaleAttempt, Self::SessionLost, Self::Superseded, Self::StaleTerm, Self::Condemned];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StaleAttempt => "STALE_ATTEMPT",
            Self::SessionLost => "SESSION_LOST",
            Self::Superseded => "SUPERSEDED",
            Self::StaleTerm => "STALE_TERM",
            Self::Condemned => "CONDEMNED",
        }
    }

    /// The reason in a refused call's status, if it has one.
    #[cfg(feature = "wire")]
    pub fn of(status: &tonic::Status) -> Option<Self> {
        let name = status.metadata().get(Self::METADATA)?.to_str().ok()?;
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// A refusal with this reason.
    #[cfg(feature = "wire")]
    pub fn refusal(self, message: impl fmt::Display) -> tonic::Status {
        let name = self.name();
        let mut status = tonic::Status::failed_precondition(format!("{name}: {message}"));
        status.metadata_mut().insert(Self::METADATA, tonic::metadata::MetadataValue::from_static(name));
        status
    }
}

/// How a coordinator that does not lead refuses every call: `UNAVAILABLE`, with the leader's address in the metadata entry
/// [`StandsBy::METADATA`] where it knows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandsBy {
    /// Where the leader is reached; empty while nobody leads.
    pub leader: String,
}

impl StandsBy {
    /// Key of the metadata entry.
    pub const METADATA: &'static str = "quiver-leader";

    /// The refusal that a status carries, if it is one.
    #[cfg(feature = "wire")]
    pub fn of(status: &tonic::Status) -> Option<Self> {
        let leader = status.metadata().get(Self::METADATA)?.to_str().ok()?.to_owned();
        Some(Self { leader })
    }

    /// The refusal as a status. An address that cannot stand in a header is told in the message alone.
    #[cfg(feature = "wire")]
    pub fn refusal(&self) -> tonic::Status {
        let mut status = tonic::Status::unavailable(self.to_string());
        if let Ok(leader) = self.leader.parse() {
            status.metadata_mut().insert(Self::METADATA, leader);
        }
        status
    }
}

impl fmt::Display for StandsBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leader.as_str() {
            "" => f.write_str("this coordinator stands by, and nobody leads yet"),
            leader => write!(f, "this coordinator stands by for the leader at {leader}"),
        }
    }
}
