//! Going on without some results: which jobs that ended without one may be waived, and what those become that then read less than was
//! planned.

use std::collections::BTreeSet;

use proto::id::{Digest, JobId, JobKey};
use proto::state::JobState;
use sha2::{Digest as _, Sha256};

/// A job that waits, and all that it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many of its optional needs it may go on without.
    pub may_miss: u32,
    /// The jobs without an artifact that it needs, each once.
    pub lacks: Vec<Lack>,
}

/// A needed job without an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The needed job.
    pub job: JobId,
    /// Where it stands.
    pub state: JobState,
    /// Whether the job that waits can be computed without it.
    pub optional: bool,
}

impl Waiting {
    /// What it lacks and will not get unless an operator helps.
    fn lost(&self) -> impl Iterator<Item = &Lack> {
        self.lacks.iter().filter(|lack| lack.state.is_terminal())
    }

    /// Whether it may be computed without what it has lost.
    fn goes_on(&self) -> bool {
        self.lost().all(|lack| lack.optional) && self.lost().count() <= self.may_miss as usize
    }
}

/// Which of some jobs that ended without a result may be waived: those that somebody waits for, and everybody who does goes on without
/// all that he has lost. `waiting` holds all jobs that wait for one of them.
pub fn dispensable(ended: &BTreeSet<JobId>, waiting: &[Waiting]) -> BTreeSet<JobId> {
    let lost = |job: &Waiting| job.lost().map(|lack| lack.job).filter(|job| ended.contains(job)).collect();
    let lost: Vec<BTreeSet<JobId>> = waiting.iter().map(lost).collect();
    let mut chosen: BTreeSet<JobId> = lost.iter().flatten().copied().collect();
    loop {
        let stuck = |(job, lost): (&Waiting, &BTreeSet<JobId>)| !job.goes_on() || !lost.is_subset(&chosen);
        let kept: BTreeSet<JobId> = waiting
            .iter()
            .zip(&lost)
            .filter(|pair| stuck(*pair))
            .flat_map(|(_, lost)| lost)
            .copied()
            .collect();
        let before = chosen.len();
        chosen.retain(|job| !kept.contains(job));
        if chosen.len() == before {
            return chosen;
        }
    }
}

/// The key of a job once it, or something that it needs, goes on without a planned input. The planned key names a result that was never
/// computed; this one is the job's own, since what is missing was nobody's plan.
pub fn key_without(planned: &JobKey, job: JobId) -> JobKey {
    let digest = Sha256::digest(format!("{planned} without, job {job}").as_bytes());
    JobKey(Digest::new(digest.into()))
}

#[cfg(test)]
mod tests {
    use JobState::{Backoff, Cancelled, Failed};
    use proptest::prelude::*;

    use super::*;

    fn lack(job: i64, state: JobState, optional: bool) -> Lack {
        Lack { job: JobId(job), state, optional }
    }

    fn ids(jobs: &[i64]) -> BTreeSet<JobId> {
        jobs.iter().copied().map(JobId).collect()
    }

    #[test]
    fn a_job_goes_on_without_as_much_as_it_may_miss() {
        let lacks = vec![lack(1, Failed, true), lack(2, Cancelled, true), lack(3, Backoff, true)];
        let with = |may_miss| vec![Waiting { may_miss, lacks: lacks.clone() }];
        assert_eq!(dispensable(&ids(&[1, 2]), &with(2)), ids(&[1, 2]));
        assert_eq!(dispensable(&ids(&[1, 2]), &with(1)), ids(&[]));
        assert_eq!(dispensable(&ids(&[1]), &with(2)), ids(&[1]));
    }

    #[test]
    fn what_somebody_cannot_do_without_is_not_waived() {
        let needs_both = Waiting { may_miss: 9, lacks: vec![lack(1, Failed, true), lack(2, Failed, false)] };
        let needs_one = Waiting { may_miss: 9, lacks: vec![lack(1, Failed, true), lack(3, Failed, true)] };
        let other = Waiting { may_miss: 1, lacks: vec![lack(4, Failed, true)] };
        let waiting = [needs_both, needs_one, other];
        assert_eq!(dispensable(&ids(&[1, 2, 3, 4]), &waiting), ids(&[4]));
        assert_eq!(dispensable(&ids(&[1]), &[]), ids(&[]));
    }

    #[test]
    fn a_job_without_an_input_has_a_key_of_its_own() {
        let planned = JobKey(Digest::new([7; 32]));
        assert_ne!(key_without(&planned, JobId(1)), planned);
        assert_ne!(key_without(&planned, JobId(1)), key_without(&planned, JobId(2)));
    }

    proptest! {
        #[test]
        fn whoever_loses_something_loses_all_and_may(
            waiting in proptest::collection::vec((0u32..4, proptest::collection::btree_map(0i64..6, (0u8..3, any::<bool>()), 0..5)), 0..6),
            ended in proptest::collection::btree_set(0i64..6, 0..6),
        ) {
            let waiting: Vec<_> = waiting.into_iter().map(|(may_miss, lacks)| Waiting {
                may_miss,
                lacks: lacks.into_iter().map(|(job, (state, optional))| lack(job, [Failed, Cancelled, Backoff][usize::from(state)], optional)).collect(),
            }).collect();
            let ended: BTreeSet<_> = ended.into_iter().map(JobId).collect();
            let chosen = dispensable(&ended, &waiting);
            prop_assert!(chosen.is_subset(&ended));
            for job in &waiting {
                let loses = job.lost().any(|lack| chosen.contains(&lack.job));
                prop_assert!(!loses || job.goes_on());
                prop_assert!(!loses || job.lost().all(|lack| !ended.contains(&lack.job) || chosen.contains(&lack.job)));
            }
        }
    }
}
