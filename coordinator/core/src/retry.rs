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
    /// How often the job's passes have been halved.
    pub halvings: u32,
}

/// What follows, and how the job is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterFailure {
    /// Where the job goes.
    pub state: JobState,
    /// How the attempt ends.
    pub outcome: Outcome,
    /// When the job may be offered again, if it has to wait.
    pub not_before: Option<Micros>,
    /// The job's remaining tries.
    pub tries_left: u32,
    /// How many jobs a process with this one may hold.
    pub group_limit: Option<u32>,
    /// How often the job's passes are halved.
    pub halvings: u32,
    /// Whether the next attempt should run on another machine.
    pub avoid_machine: bool,
    /// Whether the newest checkpoint is not to be resumed from: the loss went wrong behind it.
    pub discard_checkpoint: bool,
}

/// Decides what follows a failed attempt.
///
/// - A process that died with several jobs in it: the culprit is unknown. They are ready at once, without cost, but in company of at most
///   half the group, themselves included: halving isolates the culprit after ⌈log2 n⌉ further deaths.
/// - Memory ran out: again at once, with halved passes, a few times without cost.
/// - A loss that is not finite: again from an earlier checkpoint.
/// - Anything that may pass: again after a wait that doubles, and rather on another machine where this one may be at fault.
/// - A wrong input or setting: never again.
pub fn on_failure(failure: &Failure, policy: &Policy, now: Micros) -> AfterFailure {
    let Failure { code, tries_left, neighbours, group_limit, halvings } = *failure;
    let again = AfterFailure {
        state: JobState::Backoff,
        outcome: Outcome::Failed,
        not_before: Some(now.after(policy.backoff)),
        tries_left,
        group_limit,
        halvings,
        avoid_machine: false,
        discard_checkpoint: false,
    };
    let died = code == ErrorCode::RunnerDied;
    let alone = neighbours == 0 || group_limit == Some(1);
    if died && !alone {
        let group_limit = Some(neighbours.saturating_add(1).div_ceil(2));
        return AfterFailure {
            state: JobState::Ready,
            outcome: Outcome::Collateral,
            not_before: None,
            group_limit,
            ..again
        };
    }
    if !(died || code.spends_budget()) {
        return again;
    }
    if code == ErrorCode::OutOfMemory && halvings < policy.max_halvings {
        return AfterFailure { halvings: halvings + 1, ..again };
    }
    let tries_left = tries_left.saturating_sub(1);
    if tries_left == 0 || !code.retryable() {
        return AfterFailure { state: JobState::Failed, not_before: None, tries_left, ..again };
    }
    let earlier = policy.tries.saturating_sub(tries_left + 1);
    let wait = policy.backoff.saturating_mul(2u32.saturating_pow(earlier)).min(policy.backoff_cap);
    AfterFailure {
        not_before: Some(now.after(wait)),
        tries_left,
        avoid_machine: code.blames_machine(),
        discard_checkpoint: code == ErrorCode::NonFinite,
        ..again
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Micros = Micros(1_000);

    fn failure(code: ErrorCode, tries_left: u32) -> Failure {
        Failure { code, tries_left, neighbours: 0, group_limit: None, halvings: 0 }
    }

    fn policy() -> Policy {
        Policy {
            tries: 5,
            backoff: Duration::from_micros(10),
            backoff_cap: Duration::from_micros(35),
            ..Policy::default()
        }
    }

    fn after(failure: &Failure) -> AfterFailure {
        on_failure(failure, &policy(), NOW)
    }

    #[test]
    fn waits_double_up_to_the_cap_and_the_next_machine_is_another() {
        let mut tries_left = 5;
        let mut waits = Vec::new();
        loop {
            let next = after(&failure(ErrorCode::Storage, tries_left));
            assert_eq!(next.tries_left, tries_left - 1);
            tries_left = next.tries_left;
            let Some(not_before) = next.not_before else { break assert_eq!(next.state, JobState::Failed) };
            assert!(next.avoid_machine);
            waits.push(not_before.0 - NOW.0);
        }
        assert_eq!((waits, tries_left), (vec![10, 20, 35, 35], 0));
    }

    #[test]
    fn an_input_that_is_wrong_is_not_tried_again() {
        for code in [ErrorCode::Data, ErrorCode::Spec] {
            let next = after(&failure(code, 5));
            assert_eq!((next.state, next.tries_left), (JobState::Failed, 4));
        }
    }

    #[test]
    fn a_lost_worker_costs_no_try() {
        let next = after(&failure(ErrorCode::WorkerLost, 1));
        assert_eq!(
            (next.state, next.not_before, next.tries_left),
            (JobState::Backoff, Some(Micros(1_010)), 1)
        );
    }

    #[test]
    fn memory_that_runs_out_halves_the_passes_before_it_costs() {
        let mut job = failure(ErrorCode::OutOfMemory, 2);
        for halvings in 1..=policy().max_halvings {
            let next = after(&job);
            assert_eq!((next.halvings, next.tries_left, next.avoid_machine), (halvings, 2, false));
            job.halvings = halvings;
        }
        assert_eq!(after(&job).tries_left, 1);
    }

    #[test]
    fn a_loss_that_is_not_finite_goes_back_behind_its_checkpoint() {
        let next = after(&failure(ErrorCode::NonFinite, 2));
        assert_eq!((next.state, next.discard_checkpoint, next.tries_left), (JobState::Backoff, true, 1));
        assert_eq!(after(&failure(ErrorCode::NonFinite, 1)).state, JobState::Failed);
    }

    #[test]
    fn who_dies_alone_is_guilty() {
        let mut dead = failure(ErrorCode::RunnerDied, 2);
        let next = after(&dead);
        assert_eq!((next.not_before, next.tries_left, next.avoid_machine), (Some(Micros(1_035)), 1, true));
        dead.neighbours = 3;
        dead.group_limit = Some(1);
        assert_eq!((after(&dead).state, after(&dead).tries_left), (JobState::Backoff, 1));
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
                let next = after(&dead);
                prop_assert_eq!((next.outcome, next.state, next.tries_left), (Outcome::Collateral, JobState::Ready, 3));
                limit = next.group_limit;
                group = limit.unwrap();
                deaths += 1;
            }
            prop_assert!(deaths <= size.next_power_of_two().ilog2());
        }

        /// Whatever fails, its budget shrinks towards an end: no job is tried for ever.
        #[test]
        fn every_failure_costs_something(code in proptest::sample::select(&ErrorCode::ALL[..]), tries_left in 0u32..9, neighbours in 0u32..9, halvings in 0u32..9) {
            let facts = Failure { neighbours, halvings, ..failure(code, tries_left) };
            let next = after(&facts);
            prop_assert!(next.tries_left <= tries_left);
            prop_assert_eq!(next.state.is_terminal(), next.not_before.is_none() && next.outcome == Outcome::Failed);
            prop_assert!(next.not_before.is_none_or(|time| time > NOW));
            if next.outcome == Outcome::Collateral {
                prop_assert!(next.group_limit.unwrap() <= neighbours);
            } else if code.spends_budget() || code == ErrorCode::RunnerDied {
                prop_assert!(next.tries_left < tries_left || next.halvings > halvings || next.state.is_terminal());
            }
        }
    }
}
