//! Where a sweep stands, from its counters alone.

use std::collections::BTreeMap;

use proto::state::{JobState, SweepState};
use serde::{Deserialize, Serialize};

/// The jobs of one stage of a sweep that are in one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many.
    pub jobs: u64,
    /// Their planned tokens.
    pub tokens: u64,
    /// Device time of their committed attempts, in milliseconds.
    pub device_ms: u64,
}

/// Job state → jobs in it. States without jobs are absent.
pub type Counters = BTreeMap<JobState, Tally>;

/// How far an attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all; 0 when unknown.
    pub total: u64,
    /// Tokens computed by this attempt.
    pub tokens: u64,
    /// The latest loss, if the job has one.
    pub loss: Option<f64>,
}

impl Progress {
    /// The share of the job that is done, in [0, 1].
    pub fn share(&self) -> f64 {
        if self.total == 0 { 0.0 } else { (self.step as f64 / self.total as f64).min(1.0) }
    }
}

/// The state of a sweep that nobody cancelled. It is over when no job can move any more: jobs that wait for a failed one never start.
pub fn state_of(counters: &Counters) -> SweepState {
    let any =
        |wanted: fn(JobState) -> bool| counters.iter().any(|(state, tally)| tally.jobs > 0 && wanted(*state));
    if any(|s| matches!(s, JobState::Ready | JobState::Leased | JobState::Running | JobState::Backoff)) {
        SweepState::Running
    } else if any(|s| matches!(s, JobState::Failed | JobState::Cancelled | JobState::Blocked)) {
        SweepState::Failed
    } else {
        SweepState::Succeeded
    }
}

/// The share of a stage's work that is done, in [0, 1]. A job weighs its planned tokens and one more, so that stages without tokens count
/// too. `running` holds the planned tokens and the progress of jobs that run.
pub fn share_done(counters: &Counters, running: impl IntoIterator<Item = (u64, Progress)>) -> f64 {
    let weigh = |tally: &Tally| (tally.jobs + tally.tokens) as f64;
    let all: f64 = counters.values().map(weigh).sum();
    if all == 0.0 {
        return 1.0;
    }
    let ended: f64 = counters
        .iter()
        .filter(|(s, _)| matches!(s, JobState::Succeeded | JobState::Skipped))
        .map(|(_, t)| weigh(t))
        .sum();
    let under_way: f64 = running.into_iter().map(|(tokens, p)| (1 + tokens) as f64 * p.share()).sum();
    ((ended + under_way) / all).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counters(jobs: &[(JobState, u64, u64)]) -> Counters {
        jobs.iter()
            .map(|(s, jobs, tokens)| (*s, Tally { jobs: *jobs, tokens: *tokens, device_ms: 0 }))
            .collect()
    }

    #[test]
    fn a_sweep_ends_when_nothing_can_move() {
        use JobState::{Blocked, Cancelled, Failed, Ready, Skipped, Succeeded};
        let state = |jobs: &[JobState]| {
            state_of(&jobs.iter().map(|s| (*s, Tally { jobs: 1, ..Tally::default() })).collect())
        };
        assert_eq!(state(&[Succeeded, Ready, Failed]), SweepState::Running);
        assert_eq!(state(&[Succeeded, Skipped]), SweepState::Succeeded);
        assert_eq!(state(&[Succeeded, Failed, Blocked]), SweepState::Failed);
        assert_eq!(state(&[Succeeded, Cancelled]), SweepState::Failed);
        assert_eq!(state_of(&counters(&[(Ready, 0, 0), (Succeeded, 1, 0)])), SweepState::Succeeded);
    }

    #[test]
    fn running_jobs_count_by_their_progress() {
        let half = Progress { step: 5, total: 10, ..Progress::default() };
        let stage = counters(&[(JobState::Succeeded, 1, 99), (JobState::Running, 1, 99)]);
        assert!((share_done(&stage, [(99, half)]) - 0.75).abs() < 1e-12);
        assert_eq!(share_done(&Counters::new(), []), 1.0);
    }

    proptest! {
        #[test]
        fn a_share_is_a_share(ended in 0u64..100, waiting in 0u64..100, step in 0u64..100, total in 0u64..50) {
            let stage = counters(&[(JobState::Succeeded, ended, ended * 7), (JobState::Ready, waiting, waiting)]);
            let share = share_done(&stage, [(3, Progress { step, total, ..Progress::default() })]);
            prop_assert!((0.0..=1.0).contains(&share));
        }
    }
}
