//! States of a job and outcomes of an attempt, with the moves that are allowed between them (`orchestration` §5).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! named_states {
    ($(#[$doc:meta])* $name:ident, $unknown:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order of a job's life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in the table and on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        #[doc = concat!("A text that is not ", $what, ".")]
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[error("`{0}` is not {kind}", kind = $what)]
        pub struct $unknown(pub String);

        impl FromStr for $name {
            type Err = $unknown;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|s| s.name() == text).ok_or_else(|| $unknown(text.to_owned()))
            }
        }
    };
}

named_states! {
    /// Where a job stands.
    JobState, UnknownJobState, "a job state" {
        /// Waits for other jobs' artifacts.
        Blocked = "blocked",
        /// May be offered to a worker.
        Ready = "ready",
        /// Offered; the worker has not yet said that it runs.
        Leased = "leased",
        /// A runner computes it.
        Running = "running",
        /// Failed and waits before it is ready again.
        Backoff = "backoff",
        /// Its artifact is committed.
        Succeeded = "succeeded",
        /// Out of tries, or not retryable.
        Failed = "failed",
        /// An operator ended it.
        Cancelled = "cancelled",
        /// Waived: its dependants go on without it.
        Skipped = "skipped",
    }
}

impl JobState {
    /// Whether the job has ended: only `retry` and `waive` leave this state.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped)
    }

    /// Whether a worker holds the job.
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Leased | Self::Running)
    }

    /// Whether a job may go from this state to `next`. Only an operator's `retry`, or waiving what failed, leaves a
    /// terminal state.
    pub const fn may_become(self, next: Self) -> bool {
        use JobState::{Backoff, Blocked, Cancelled, Failed, Leased, Ready, Running, Skipped, Succeeded};
        match self {
            Blocked => matches!(next, Ready | Cancelled | Skipped | Failed),
            Ready => matches!(next, Leased | Blocked | Cancelled | Skipped),
            Leased => matches!(next, Running | Ready | Backoff | Succeeded | Failed | Cancelled),
            Running => matches!(next, Ready | Backoff | Succeeded | Failed | Cancelled),
            Backoff => matches!(next, Ready | Cancelled | Skipped),
            Failed | Cancelled => matches!(next, Ready | Blocked | Skipped),
            Skipped => matches!(next, Ready | Blocked),
            Succeeded => false,
        }
    }
}

named_states! {
    /// How an attempt ended.
    Outcome, UnknownOutcome, "an attempt outcome" {
        /// Its artifact is the job's result.
        Committed = "committed",
        /// It failed by itself.
        Failed = "failed",
        /// Its worker's lease ran out.
        Expired = "expired",
        /// Given back by drain or preemption; costs no budget.
        Released = "released",
        /// A neighbour killed the process; costs no budget.
        Collateral = "collateral",
        /// An operator ended it.
        Cancelled = "cancelled",
        /// A newer attempt exists.
        Fenced = "fenced",
    }
}

named_states! {
    /// Where a sweep stands.
    SweepState, UnknownSweepState, "a sweep state" {
        /// Some of its jobs are not terminal.
        Running = "running",
        /// All of its jobs succeeded or were waived.
        Succeeded = "succeeded",
        /// All of its jobs are terminal or can never start, and some failed.
        Failed = "failed",
        /// An operator ended it.
        Cancelled = "cancelled",
    }
}

named_states! {
    /// What a bearer token allows.
    Role, UnknownRole, "a role" {
        /// Everything.
        Operator = "operator",
        /// To look, not to change.
        Viewer = "viewer",
        /// What a worker does.
        Worker = "worker",
    }
}

impl SweepState {
    /// Whether the sweep is over.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_text() {
        for state in JobState::ALL {
            assert_eq!(state.name().parse(), Ok(*state));
        }
        for outcome in Outcome::ALL {
            assert_eq!(outcome.name().parse(), Ok(*outcome));
        }
    }

    #[test]
    fn a_committed_result_is_never_left() {
        assert!(JobState::ALL.iter().all(|next| !JobState::Succeeded.may_become(*next)));
    }

    #[test]
    fn every_live_state_can_be_cancelled() {
        for state in JobState::ALL.iter().filter(|s| !s.is_terminal()) {
            assert!(state.may_become(JobState::Cancelled), "{state}");
        }
    }
}
