//! What follows a failed attempt: another try, at once or later, or the end of the job.

use proto::error::ErrorCode;
use proto::state::{JobState, Outcome};

use crate::policy::Policy;
use crate::time::Micros;

/// What is known when an attempt fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why it failed.
    pub code: ErrorCode,
    /// Tries the job had left when the attempt began, this one included.
    pub tries_left: u32,
    /// Other jobs of the process that the attempt ran in.
    pub neighbours: u32,
    /// How many jobs a process with this one may hold, after earlier deaths.
    pub group_limit: Option<u32>,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// The process died with several jobs in it: ready at once, without cost, but in company of at most `group_limit` jobs, itself
    /// included. Halving isolates the culprit after ⌈log2 n⌉ further deaths.
    Collateral {
        /// The half of the group, rounded up.
        group_limit: u32,
    },
    /// Another attempt, not before a time.
    Retry {
        /// When the job may be offered again.
        not_before: Micros,
        /// Its remaining tries.
        tries_left: u32,
    },
    /// No further attempt.
    Fail {
        /// Its remaining tries.
        tries_left: u32,
    },
}

impl AfterFailure {
    /// Where the job goes.
    pub fn state(&self) -> JobState {
        match self {
            Self::Collateral { .. } => JobState::Ready,
            Self::Retry { .. } => JobState::Backoff,
            Self::Fail { .. } => JobState::Failed,
        }
    }

    /// How the attempt ends.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Collateral { .. } => Outcome::Collateral,
            Self::Retry { .. } | Self::Fail { .. } => Outcome::Failed,
        }
    }

    /// When the job may be offered again, if it has to wait.
    pub fn not_before(&self) -> Option<Micros> {
        match self {
            Self::Retry { not_before, .. } => Some(*not_before),
            Self::Collateral { .. } | Self::Fail { .. } => None,
        }
    }

    /// The job's remaining tries after `failure`.
    pub fn tries_left(&self, failure: &Failure) -> u32 {
        match self {
            Self::Collateral { .. } => failure.tries_left,
            Self::Retry { tries_left, .. } | Self::Fail { tries_left } => *tries_left,
        }
    }

    /// The job's group limit after `failure`.
    pub fn group_limit(&self, failure: &Failure) -> Option<u32> {
        match self {
            Self::Collateral { group_limit } => Some(*group_limit),
            Self::Retry { .. } | Self::Fail { .. } => failure.group_limit,
        }
    }
}

/// Decides what follows a failed attempt.
pub fn on_failure(failure: &Failure, policy: &Policy, now: Micros) -> AfterFailure {
    let Failure { code, tries_left, neighbours, group_limit } = *failure;
    let died = code == ErrorCode::RunnerDied;
    let alone = neighbours == 0 || group_limit == Some(1);
    if died && !alone {
        return AfterFailure::Collateral { group_limit: neighbours.saturating_add(1).div_ceil(2) };
    }
    let guilty = died || code.spends_budget();
    if !guilty {
        return AfterFailure::Retry { not_before: now.after(policy.backoff), tries_left };
    }
    let tries_left = tries_left.saturating_sub(1);
    if tries_left == 0 || !code.retryable() {
        return AfterFailure::Fail { tries_left };
    }
    let earlier = policy.tries.saturating_sub(tries_left + 1);
    let wait = policy.backoff.saturating_mul(2u32.saturating_pow(earlier)).min(policy.backoff_cap);
    AfterFailure::Retry { not_before: now.after(wait), tries_left }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Micros = Micros(1_000);

    fn failure(code: ErrorCode, tries_left: u32) -> Failure {
        Failure { code, tries_left, neighbours: 0, group_limit: None }
    }

    fn policy() -> Policy {
        Policy {
            tries: 5,
            backoff: Duration::from_micros(10),
            backoff_cap: Duration::from_micros(35),
            ..Policy::default()
        }
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let mut tries_left = 5;
        let mut waits = Vec::new();
        while let AfterFailure::Retry { not_before, tries_left: left } =
            on_failure(&failure(ErrorCode::Storage, tries_left), &policy(), NOW)
        {
            assert_eq!(left, tries_left - 1);
            tries_left = left;
            waits.push(not_before.0 - NOW.0);
        }
        assert_eq!((waits, tries_left), (vec![10, 20, 35, 35], 1));
    }

    #[test]
    fn an_input_that_is_wrong_is_not_tried_again() {
        for code in [ErrorCode::Data, ErrorCode::Spec, ErrorCode::NonFinite] {
            assert_eq!(on_failure(&failure(code, 5), &policy(), NOW), AfterFailure::Fail { tries_left: 4 });
        }
    }

    #[test]
    fn a_lost_worker_costs_no_try() {
        let after = on_failure(&failure(ErrorCode::WorkerLost, 1), &policy(), NOW);
        assert_eq!(after, AfterFailure::Retry { not_before: Micros(1_010), tries_left: 1 });
    }

    #[test]
    fn who_dies_alone_is_guilty() {
        let mut dead = failure(ErrorCode::RunnerDied, 2);
        assert_eq!(
            on_failure(&dead, &policy(), NOW),
            AfterFailure::Retry { not_before: Micros(1_035), tries_left: 1 }
        );
        dead.neighbours = 3;
        dead.group_limit = Some(1);
        assert!(matches!(on_failure(&dead, &policy(), NOW), AfterFailure::Retry { tries_left: 1, .. }));
    }

    proptest! {
        /// However many jobs a process held, halving isolates the bad one within ⌈log2 n⌉ further deaths and costs nobody a try.
        #[test]
        fn halving_isolates_the_culprit(size in 2u32..5_000) {
            let mut group = size;
            let mut deaths = 0;
            let mut limit = None;
            while group > 1 {
                let dead = Failure { neighbours: group - 1, group_limit: limit, ..failure(ErrorCode::RunnerDied, 3) };
                match on_failure(&dead, &policy(), NOW) {
                    AfterFailure::Collateral { group_limit } => {
                        limit = Some(group_limit);
                        group = group_limit;
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                deaths += 1;
            }
            prop_assert!(deaths <= size.next_power_of_two().ilog2());
        }

        #[test]
        fn tries_never_grow(code in proptest::sample::select(&ErrorCode::ALL[..]), tries_left in 0u32..9, neighbours in 0u32..9) {
            let facts = Failure { neighbours, ..failure(code, tries_left) };
            match on_failure(&facts, &policy(), NOW) {
                AfterFailure::Collateral { group_limit } => prop_assert!(group_limit <= neighbours),
                AfterFailure::Retry { not_before, tries_left: left } => {
                    prop_assert!(left <= tries_left && not_before > NOW);
                }
                AfterFailure::Fail { tries_left: left } => prop_assert!(left <= tries_left),
            }
        }
    }
}
