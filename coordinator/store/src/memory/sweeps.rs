//! Submitting, cancelling and retrying sweeps, and their ends.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::sweep::{Counters, state_of};
use coordinator_core::time::Micros;
use proto::id::{Attempt, JobId, SweepId};
use proto::state::{JobState, Outcome, SweepState};

use super::table::{Job, Sweep, Table};
use crate::error::{Result, StoreError};
use crate::model::{NewJob, NewSweep, Selection, Submitted, SweepRow};

impl Table {
    /// See [`crate::Store::submit`].
    pub(super) fn submit(&mut self, now: Micros, sweep: NewSweep) -> Result<Submitted> {
        let joinable = |s: &&Sweep| {
            let waived = || s.counters.values().any(|stage| stage.contains_key(&JobState::Skipped));
            s.manifest_digest == sweep.manifest_digest
                && match s.row.state {
                    SweepState::Running => true,
                    SweepState::Succeeded => !waived(),
                    SweepState::Failed | SweepState::Cancelled => false,
                }
        };
        if let Some(found) = self.sweeps.values().rev().find(joinable) {
            return Ok(Submitted { sweep: found.row.id, joined: true });
        }
        let planned: BTreeSet<_> = sweep.jobs.iter().map(|job| job.key).collect();
        for job in &sweep.jobs {
            if let Some(key) = job.needs().into_iter().find(|key| !planned.contains(key)) {
                return Err(StoreError::UnknownNeed { label: job.label.clone(), key });
            }
        }
        let id = SweepId(self.sweeps.len() as i64 + 1);
        let priority = sweep.priority;
        let known: BTreeSet<_> = planned.iter().filter_map(|key| self.by_key.get(key).copied()).collect();
        let (mut members, mut allowed) = (Vec::new(), BTreeMap::new());
        for job in sweep.jobs {
            let stage = job.stage.clone();
            let may_miss = job.may_miss;
            let job = match self.by_key.get(&job.key) {
                Some(known) => *known,
                None => self.insert_job(now, job, &sweep.owner, priority),
            };
            allowed.insert(job, may_miss);
            members.push((job, stage));
        }
        let row =
            SweepRow { id, name: sweep.name, state: SweepState::Running, created_at: now, finished_at: None };
        let joined = members.clone();
        let sweep = Sweep {
            row,
            manifest_digest: sweep.manifest_digest,
            stages: sweep.stages,
            trace: sweep.trace,
            members,
            counters: BTreeMap::new(),
        };
        self.sweeps.insert(id, sweep);
        self.sweep_event(now, id, SweepState::Running);
        for (job, stage) in joined {
            self.join(id, job, stage)?;
        }
        for job in &known {
            let shared = self.wanted_elsewhere(*job, id);
            let may_miss = allowed.get(job).copied().unwrap_or_default();
            let row = self.job_mut(*job)?;
            row.priority = row.priority.max(priority);
            row.planned.may_miss = if shared { row.planned.may_miss.min(may_miss) } else { may_miss };
        }
        self.give_fresh_budget(now, &known)?;
        self.settle_all(now, BTreeSet::from([id]))?;
        Ok(Submitted { sweep: id, joined: false })
    }

    fn insert_job(&mut self, now: Micros, planned: NewJob, owner: &str, priority: i32) -> JobId {
        let id = JobId(self.jobs.len() as i64 + 1);
        let done = |need: &_| {
            let job = self.by_key.get(need).and_then(|id| self.jobs.get(id));
            job.is_some_and(|job| job.state == JobState::Succeeded)
        };
        let pending_deps = planned.needs().iter().filter(|need| !done(need)).count() as u32;
        let state = if pending_deps == 0 { JobState::Ready } else { JobState::Blocked };
        self.by_key.insert(planned.key, id);
        let job = Job {
            id,
            planned,
            sweeps: Vec::new(),
            priority,
            state,
            attempt: Attempt(0),
            tries_left: self.policy.tries,
            pending_deps,
            group_limit: None,
            halvings: 0,
            avoid: None,
            owner: owner.to_owned(),
            not_before: None,
            holder: None,
            error: None,
            finished_at: None,
            result: None,
        };
        self.jobs.insert(id, job);
        self.note(now, None, Some(id), Some(Attempt(0)), format!("job.{state}"));
        id
    }

    /// Adds a job to a sweep and its counters.
    fn join(&mut self, sweep: SweepId, job: JobId, stage: String) -> Result<()> {
        let row = self.jobs.get_mut(&job).ok_or_else(|| StoreError::missing(format!("job {job}")))?;
        if let Some(sweep) = self.sweeps.get_mut(&sweep) {
            let tally = sweep.counters.entry(stage.clone()).or_default().entry(row.state).or_default();
            tally.jobs += 1;
            tally.tokens += row.planned.tokens;
            tally.device_ms += row.result.as_ref().map_or(0, |result| result.device_ms);
        }
        row.sweeps.push((sweep, stage));
        Ok(())
    }

    /// See [`crate::Store::cancel`].
    pub(super) fn cancel(&mut self, now: Micros, selection: &Selection) -> Result<u64> {
        let sweep = self.known_sweep(selection.sweep)?;
        if sweep.row.state != SweepState::Running {
            return Ok(0);
        }
        let chosen = self.selected(sweep, selection);
        let jobs: Vec<_> = chosen
            .filter(|job| !job.state.is_terminal() && !self.wanted_elsewhere(job.id, selection.sweep))
            .map(|job| job.task())
            .collect();
        for task in &jobs {
            self.move_job(now, task.job, JobState::Cancelled, |job| job.not_before = None)?;
            self.end_attempt(now, *task, Outcome::Cancelled);
        }
        if selection.jobs.is_empty() {
            self.move_sweep(now, selection.sweep, SweepState::Cancelled);
        } else {
            self.settle_all(now, BTreeSet::from([selection.sweep]))?;
        }
        Ok(jobs.len() as u64)
    }

    /// See [`crate::Store::retry`].
    pub(super) fn retry(&mut self, now: Micros, selection: &Selection) -> Result<u64> {
        let sweep = self.known_sweep(selection.sweep)?;
        let ended = sweep.row.state.is_terminal();
        let jobs: BTreeSet<_> = self.selected(sweep, selection).map(|job| job.id).collect();
        let changed = self.give_fresh_budget(now, &jobs)?;
        if changed > 0 && ended {
            self.move_sweep(now, selection.sweep, SweepState::Running);
        }
        Ok(changed)
    }

    /// Whether another live sweep than this wants a job.
    fn wanted_elsewhere(&self, job: JobId, sweep: SweepId) -> bool {
        let sweeps = self.jobs.get(&job).into_iter().flat_map(|job| &job.sweeps);
        let mut others = sweeps.filter(|(id, _)| *id != sweep).filter_map(|(id, _)| self.sweeps.get(id));
        others.any(|other| other.row.state == SweepState::Running)
    }

    pub(super) fn known_sweep(&self, id: SweepId) -> Result<&Sweep> {
        self.sweeps.get(&id).ok_or_else(|| StoreError::missing(format!("sweep {id}")))
    }

    /// The jobs of a sweep that a selection names.
    pub(super) fn selected<'a>(
        &'a self,
        sweep: &'a Sweep,
        selection: &'a Selection,
    ) -> impl Iterator<Item = &'a Job> {
        let jobs = sweep.members.iter().filter_map(|(id, _)| self.jobs.get(id));
        jobs.filter(|job| selection.jobs.is_empty() || selection.jobs.contains(&job.id))
    }

    /// Makes those of some jobs that ended without an artifact ready or blocked again. Returns how many.
    fn give_fresh_budget(&mut self, now: Micros, jobs: &BTreeSet<JobId>) -> Result<u64> {
        let tries = self.policy.tries;
        let again = jobs
            .iter()
            .filter_map(|id| self.jobs.get(id))
            .filter(|job| matches!(job.state, JobState::Failed | JobState::Cancelled | JobState::Skipped));
        let again: BTreeMap<_, _> = again.map(|job| (job.id, job.pending_deps)).collect();
        for (id, pending_deps) in &again {
            let to = if *pending_deps == 0 { JobState::Ready } else { JobState::Blocked };
            self.move_job(now, *id, to, |job| {
                job.tries_left = tries;
                job.group_limit = None;
                job.halvings = 0;
                job.avoid = None;
                job.not_before = None;
                job.error = None;
            })?;
        }
        Ok(again.len() as u64)
    }

    /// Ends the live sweeps that contain one of some jobs, as far as nothing in them can move any more.
    pub(super) fn settle_all_with(&mut self, now: Micros, jobs: &BTreeSet<JobId>) -> Result<()> {
        let sweeps = self.sweeps_with(jobs);
        self.settle_all(now, sweeps)
    }

    fn sweeps_with(&self, jobs: &BTreeSet<JobId>) -> BTreeSet<SweepId> {
        let jobs = jobs.iter().filter_map(|id| self.jobs.get(id));
        jobs.flat_map(|job| job.sweeps.iter().map(|(sweep, _)| *sweep)).collect()
    }

    /// Ends those of some sweeps that live and in which nothing can move any more. What may be waived is waived before, and can move
    /// others.
    fn settle_all(&mut self, now: Micros, mut sweeps: BTreeSet<SweepId>) -> Result<()> {
        while let Some(id) = sweeps.pop_first() {
            let Some(sweep) = self.sweeps.get(&id).filter(|s| s.row.state == SweepState::Running) else {
                continue;
            };
            let mut all = Counters::new();
            for (state, tally) in sweep.counters.values().flatten() {
                all.entry(*state).or_default().jobs += tally.jobs;
            }
            let state = state_of(&all);
            let waived =
                if state == SweepState::Failed { self.waive_lost(now, id)? } else { BTreeSet::new() };
            if !waived.is_empty() {
                sweeps.extend(self.sweeps_with(&waived));
            } else if state.is_terminal() {
                self.move_sweep(now, id, state);
            }
        }
        Ok(())
    }
}
