//! What must never happen, as functions over what the table shows. Tests, the simulator and the stores' conformance suite check them
//! after every step.

use std::collections::BTreeMap;

use proto::id::{Attempt, JobId};
use proto::state::{JobState, Outcome};

use crate::time::Micros;

/// One job, as the table shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFacts {
    /// The job.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
    /// Its newest attempt; 0 before the first.
    pub attempt: Attempt,
    /// Needs that have no artifact yet.
    pub pending_deps: u32,
    /// When it ended.
    pub finished_at: Option<Micros>,
    /// Whether a worker holds it.
    pub has_worker: bool,
    /// How many artifacts are recorded for it.
    pub artifacts: u32,
    /// Outcomes of its attempts, by number; none while an attempt lives.
    pub outcomes: BTreeMap<Attempt, Option<Outcome>>,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id}: job {job} {what}")]
pub struct Broken {
    /// The invariant's id.
    pub id: &'static str,
    /// The job that breaks it.
    pub job: JobId,
    /// How.
    pub what: &'static str,
}

/// A check of one job: id, what a job that fails it is, and the condition that holds.
type Check = (&'static str, &'static str, fn(&JobFacts) -> bool);

const OF_ONE_JOB: &[Check] = &[
    ("I-01", "is finished without being terminal, or terminal without an end", |job| {
        job.state.is_terminal() == job.finished_at.is_some()
    }),
    ("I-02", "is held by nobody, or by somebody without being leased", |job| {
        job.state.is_held() == job.has_worker
    }),
    ("I-03", "runs before its needs are met", |job| {
        job.pending_deps == 0
            || matches!(
                job.state,
                JobState::Blocked | JobState::Cancelled | JobState::Failed | JobState::Skipped
            )
    }),
    ("I-04", "waits for needs that are all met", |job| {
        job.state != JobState::Blocked || job.pending_deps > 0
    }),
    ("I-05", "has an artifact without success, success without an artifact, or two artifacts", |job| {
        job.artifacts == u32::from(job.state == JobState::Succeeded)
    }),
    ("I-06", "has a living attempt that is not its newest, or not held", |job| {
        job.outcomes
            .iter()
            .all(|(attempt, outcome)| outcome.is_some() || (*attempt == job.attempt && job.state.is_held()))
    }),
    ("I-07", "was committed by more than one attempt, or not by its newest", |job| {
        job.outcomes
            .iter()
            .all(|(attempt, outcome)| *outcome != Some(Outcome::Committed) || *attempt == job.attempt)
    }),
    ("I-08", "is held without a living attempt", |job| {
        !job.state.is_held() || job.outcomes.get(&job.attempt) == Some(&None)
    }),
];

/// Every invariant that one view of the table breaks.
pub fn broken(jobs: &[JobFacts]) -> Vec<Broken> {
    let check = |job: &JobFacts| {
        let failed = OF_ONE_JOB.iter().filter(|(_, _, holds)| !holds(job));
        failed.map(|(id, what, _)| Broken { id, job: job.id, what }).collect::<Vec<_>>()
    };
    jobs.iter().flat_map(check).collect()
}

/// Every invariant that the step from one view of the table to a later one breaks.
pub fn broken_between(before: &[JobFacts], after: &[JobFacts]) -> Vec<Broken> {
    let later: BTreeMap<_, _> = after.iter().map(|job| (job.id, job)).collect();
    let mut found = Vec::new();
    for job in before {
        let breaks = |id, what| Broken { id, job: job.id, what };
        match later.get(&job.id) {
            None => found.push(breaks("I-09", "vanished")),
            Some(now) if now.attempt < job.attempt => {
                found.push(breaks("I-10", "went back to an older attempt"))
            }
            Some(now) if job.state == JobState::Succeeded && now.state != JobState::Succeeded => {
                found.push(breaks("I-11", "lost its success"));
            }
            Some(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> JobFacts {
        JobFacts {
            id: JobId(1),
            state: JobState::Running,
            attempt: Attempt(2),
            pending_deps: 0,
            finished_at: None,
            has_worker: true,
            artifacts: 0,
            outcomes: BTreeMap::from([(Attempt(1), Some(Outcome::Expired)), (Attempt(2), None)]),
        }
    }

    fn ids(found: Vec<Broken>) -> Vec<&'static str> {
        found.into_iter().map(|b| b.id).collect()
    }

    #[test]
    fn each_breach_is_found() {
        assert_eq!(broken(&[sound()]), []);
        assert_eq!(ids(broken(&[JobFacts { finished_at: Some(Micros(1)), ..sound() }])), ["I-01"]);
        assert_eq!(ids(broken(&[JobFacts { has_worker: false, ..sound() }])), ["I-02"]);
        assert_eq!(ids(broken(&[JobFacts { pending_deps: 1, ..sound() }])), ["I-03"]);
        assert_eq!(ids(broken(&[JobFacts { artifacts: 1, ..sound() }])), ["I-05"]);
        assert_eq!(ids(broken(&[JobFacts { attempt: Attempt(3), ..sound() }])), ["I-06", "I-08"]);
        let blocked =
            JobFacts { state: JobState::Blocked, has_worker: false, outcomes: BTreeMap::new(), ..sound() };
        assert_eq!(ids(broken(&[blocked])), ["I-04"]);
        let twice = BTreeMap::from([(Attempt(1), Some(Outcome::Committed)), (Attempt(2), None)]);
        assert_eq!(ids(broken(&[JobFacts { outcomes: twice, ..sound() }])), ["I-07"]);
    }

    #[test]
    fn each_bad_step_is_found() {
        assert_eq!(broken_between(&[sound()], &[sound()]), []);
        assert_eq!(ids(broken_between(&[sound()], &[])), ["I-09"]);
        assert_eq!(ids(broken_between(&[sound()], &[JobFacts { attempt: Attempt(1), ..sound() }])), ["I-10"]);
        let done = JobFacts { state: JobState::Succeeded, ..sound() };
        assert_eq!(ids(broken_between(&[done], &[sound()])), ["I-11"]);
    }
}
