//! Going on without some results.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::time::Micros;
use coordinator_core::waive::{Lack, Waiting, dispensable, key_without};
use proto::id::{JobId, JobKey, SweepId};
use proto::state::{JobState, SweepState};

use super::table::{Job, Table};
use crate::error::{Result, StoreError};
use crate::model::{Selection, Source};

impl Table {
    /// See [`crate::Store::waive`].
    pub(super) fn waive(&mut self, now: Micros, selection: &Selection) -> Result<u64> {
        let sweep = self.known_sweep(selection.sweep)?;
        let failed = sweep.row.state == SweepState::Failed;
        let chosen = self.selected(sweep, selection);
        let chosen: BTreeSet<_> =
            chosen.filter(|job| job.state.may_become(JobState::Skipped)).map(|job| job.id).collect();
        self.require_dispensable(&chosen)?;
        self.go_on_without(now, &chosen)?;
        if failed && !chosen.is_empty() {
            self.move_sweep(now, selection.sweep, SweepState::Running);
        }
        self.settle_all_with(now, &chosen)?;
        Ok(chosen.len() as u64)
    }

    /// Fails if a job that waits, and is none of some jobs, cannot do without one of them.
    fn require_dispensable(&self, chosen: &BTreeSet<JobId>) -> Result<()> {
        for needed in chosen {
            let by = |job: &&Job| {
                job.state == JobState::Blocked
                    && !chosen.contains(&job.id)
                    && self.lacks(job).any(|lack| lack.job == *needed && !lack.optional)
            };
            if let Some(job) = self.jobs.values().find(by) {
                let label = self.jobs.get(needed).map(|job| job.planned.label.clone()).unwrap_or_default();
                return Err(StoreError::Needed { label, by: job.planned.label.clone() });
            }
        }
        Ok(())
    }

    /// Waives what a sweep in which nothing can move has lost, as far as all that wait for it may go on. Returns what was waived.
    pub(super) fn waive_lost(&mut self, now: Micros, sweep: SweepId) -> Result<BTreeSet<JobId>> {
        let members = self.known_sweep(sweep)?.members.iter().filter_map(|(id, _)| self.jobs.get(id));
        let lost = members.filter(|job| matches!(job.state, JobState::Failed | JobState::Cancelled));
        let lost: BTreeSet<_> = lost.map(|job| job.id).collect();
        let waiting = self
            .jobs
            .values()
            .filter(|job| job.state == JobState::Blocked)
            .map(|job| Waiting { may_miss: job.planned.may_miss, lacks: self.lacks(job).collect() });
        let waived = dispensable(&lost, &waiting.collect::<Vec<_>>());
        self.go_on_without(now, &waived)?;
        Ok(waived)
    }

    /// The jobs without an artifact that a job needs.
    fn lacks(&self, job: &Job) -> impl Iterator<Item = Lack> {
        let mut optional = BTreeMap::<JobId, bool>::new();
        for input in &job.planned.inputs {
            let Source::Job(key) = &input.source else { continue };
            let Some(needed) = self.by_key.get(key) else { continue };
            let all = optional.entry(*needed).or_insert(true);
            *all = *all && input.optional;
        }
        optional.into_iter().filter_map(|(id, optional)| {
            let state = self.jobs.get(&id)?.state;
            (state != JobState::Succeeded).then_some(Lack { job: id, state, optional })
        })
    }

    /// Waives some jobs, takes them out of what others read, gives those keys of their own, and makes ready what waited for nothing else.
    fn go_on_without(&mut self, now: Micros, waived: &BTreeSet<JobId>) -> Result<()> {
        for id in waived {
            self.move_job(now, *id, JobState::Skipped, |job| job.not_before = None)?;
        }
        let missed = |job: &Job| {
            let lost = self.lacks(job).filter(|lack| lack.optional && waived.contains(&lack.job));
            lost.map(|lack| lack.job).collect::<BTreeSet<_>>()
        };
        let mut changed: BTreeMap<_, _> = self.jobs.values().map(|job| (job.id, missed(job))).collect();
        changed.retain(|_, missed| !missed.is_empty());
        let renamed = self.behind(changed.keys().copied().collect());
        for (id, missed) in &changed {
            let keys: BTreeSet<_> =
                missed.iter().filter_map(|id| Some(self.jobs.get(id)?.planned.key)).collect();
            let job = self.job_mut(*id)?;
            let dropped = |source: &Source| matches!(source, Source::Job(key) if keys.contains(key));
            job.planned.inputs.retain(|input| !dropped(&input.source));
            job.planned.may_miss = job.planned.may_miss.saturating_sub(missed.len() as u32);
            job.pending_deps -= missed.len() as u32;
        }
        self.rename(&renamed)?;
        for id in changed.keys() {
            let job = self.job_mut(*id)?;
            if job.state == JobState::Blocked && job.pending_deps == 0 {
                self.move_job(now, *id, JobState::Ready, |_| {})?;
            }
        }
        Ok(())
    }

    /// Some jobs and all that need them, directly or not.
    fn behind(&self, mut jobs: BTreeSet<JobId>) -> BTreeSet<JobId> {
        loop {
            let keys: BTreeSet<JobKey> =
                jobs.iter().filter_map(|id| Some(self.jobs.get(id)?.planned.key)).collect();
            let needs_one = |job: &&Job| !job.planned.needs().is_disjoint(&keys);
            let before = jobs.len();
            jobs.extend(self.jobs.values().filter(needs_one).map(|job| job.id));
            if jobs.len() == before {
                return jobs;
            }
        }
    }

    /// Gives jobs keys that say that they miss something.
    fn rename(&mut self, jobs: &BTreeSet<JobId>) -> Result<()> {
        let mut keys = BTreeMap::new();
        for id in jobs {
            let job = self.job_mut(*id)?;
            let planned = job.planned.key;
            let own = key_without(&planned, *id);
            job.planned.key = own;
            keys.insert(planned, own);
            self.by_key.remove(&planned);
            self.by_key.insert(own, *id);
        }
        for input in self.jobs.values_mut().flat_map(|job| &mut job.planned.inputs) {
            if let Source::Job(key) = &mut input.source
                && let Some(new) = keys.get(key)
            {
                *key = *new;
            }
        }
        Ok(())
    }
}
