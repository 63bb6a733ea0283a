//! Attempts: claimed, checkpointed, committed, failed.

use std::cmp::Reverse;

use coordinator_core::lease::may_write;
use coordinator_core::offer::{Candidate, LaneFacts, WINDOW, choose};
use coordinator_core::retry::{Failure, on_failure};
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use proto::error::ErrorCode;
use proto::id::{Attempt, Digest, JobId, WorkerId};
use proto::pipe::Task;
use proto::state::{JobState, Outcome, SweepState};

use super::table::{AttemptRow, Job, Table};
use crate::error::{Result, StoreError};
use crate::model::{Artifact, Claim, Completion, Ending, Input, Offer, RecordedCheckpoint, Source};

impl Table {
    /// See [`crate::Store::claim`].
    pub(super) fn claim(&mut self, now: Micros, claim: &Claim) -> Result<Vec<Offer>> {
        self.require_session(claim.worker)?;
        let lane = self.lane_facts(claim);
        let best = self.candidates(claim.fan, 1);
        let fan = claim.fan.or_else(|| best.first().and_then(|best| best.fan));
        let candidates = if fan.is_some() { self.candidates(fan, WINDOW) } else { best };
        let chosen = choose(&lane, &candidates);
        for id in &chosen {
            self.move_job(now, *id, JobState::Leased, |job| {
                job.attempt = Attempt(job.attempt.0 + 1);
                job.holder = Some((claim.worker, claim.lane));
                job.not_before = None;
            })?;
            let task = self.job_mut(*id)?.task();
            let row = AttemptRow {
                worker: claim.worker,
                lane: claim.lane,
                started_at: now,
                end: None,
                progress: Progress::default(),
            };
            self.attempts.insert(task, row);
        }
        Ok(chosen.iter().filter_map(|id| self.jobs.get(id)).map(|job| self.offer(job)).collect())
    }

    fn lane_facts(&self, claim: &Claim) -> LaneFacts {
        let in_lane = |job: &&Job| {
            job.holder == Some((claim.worker, claim.lane))
                && claim.fan.is_some()
                && job.planned.fan == claim.fan
        };
        LaneFacts {
            fan: claim.fan,
            held: self.jobs.values().filter(in_lane).count() as u32,
            group_limit: self.jobs.values().filter(in_lane).filter_map(|job| job.group_limit).min(),
            free_slots: claim.free_slots,
        }
    }

    /// Ready jobs, best first; with `fan`, only of that fan.
    fn candidates(&self, fan: Option<Digest>, limit: u32) -> Vec<Candidate> {
        let ready = self.jobs.values().filter(|job| job.state == JobState::Ready);
        let mut ready: Vec<_> = ready.filter(|job| fan.is_none() || job.planned.fan == fan).collect();
        ready.sort_by_key(|job| (Reverse(job.priority), Reverse(job.planned.tokens), job.id));
        let candidate =
            |job: &Job| Candidate { job: job.id, fan: job.planned.fan, group_limit: job.group_limit };
        ready.into_iter().take(limit as usize).map(candidate).collect()
    }

    fn offer(&self, job: &Job) -> Offer {
        let resolve = |source: &Source| match source {
            Source::Artifact(artifact) => Some(artifact.clone()),
            Source::Job(key) => self.artifact_of(*self.by_key.get(key)?),
        };
        let mut inputs: Vec<_> = job
            .planned
            .inputs
            .iter()
            .filter_map(|input| Some(Input { name: input.name.clone(), artifact: resolve(&input.source)? }))
            .collect();
        inputs.sort_by(|a, b| a.name.cmp(&b.name));
        let mut checkpoints = self.checkpoints.iter().filter(|((of, _, _), _)| *of == job.id);
        let live = job.sweeps.iter().rev().filter_map(|(id, _)| self.sweeps.get(id));
        let sweep = live.filter(|s| s.row.state == SweepState::Running).map(|s| s.row.name.clone()).next();
        Offer {
            task: job.task(),
            key: job.planned.key,
            kind: job.planned.kind.clone(),
            label: job.planned.label.clone(),
            spec: job.planned.spec.clone(),
            fan: job.planned.fan,
            fan_limits: job.planned.fan_limits.clone(),
            inputs,
            checkpoint: checkpoints.next_back().map(|(_, checkpoint)| checkpoint.clone()),
            sweep: sweep.unwrap_or_default(),
        }
    }

    /// What a job committed.
    pub(super) fn artifact_of(&self, job: JobId) -> Option<Artifact> {
        Some(self.jobs.get(&job)?.result.as_ref()?.artifact.clone())
    }

    /// Fails unless an attempt may write on behalf of a live session.
    fn require_writable(&self, worker: WorkerId, task: Task) -> Result<()> {
        self.require_session(worker)?;
        match self.attempt_facts(worker, task) {
            Some(facts) if may_write(task.attempt, &facts) => Ok(()),
            _ => Err(StoreError::StaleAttempt(task)),
        }
    }

    /// See [`crate::Store::record_progress`].
    pub(super) fn record_progress(&mut self, progress: &[(Task, Progress)]) {
        for (task, progress) in progress {
            if let Some(row) = self.attempts.get_mut(task).filter(|row| row.end.is_none()) {
                row.progress = *progress;
            }
        }
    }

    /// See [`crate::Store::checkpoint`].
    pub(super) fn checkpoint(
        &mut self,
        worker: WorkerId,
        task: Task,
        checkpoint: RecordedCheckpoint,
    ) -> Result<()> {
        self.require_writable(worker, task)?;
        self.checkpoints.entry((task.job, checkpoint.step, task.attempt)).or_insert(checkpoint);
        Ok(())
    }

    /// See [`crate::Store::complete`].
    pub(super) fn complete(
        &mut self,
        now: Micros,
        worker: WorkerId,
        task: Task,
        completion: Completion,
    ) -> Result<Artifact> {
        if let Some(winner) = self.artifact_of(task.job) {
            return Ok(winner);
        }
        self.require_writable(worker, task)?;
        let artifact = completion.artifact.clone();
        self.move_job(now, task.job, JobState::Succeeded, |job| {
            job.result = Some(completion);
            job.error = None;
        })?;
        self.end_attempt(now, task, Outcome::Committed);
        let key = self.job_mut(task.job)?.planned.key;
        let waiting = self.jobs.values().filter(|job| job.planned.needs().contains(&key));
        let waiting: Vec<_> = waiting.map(|job| job.id).collect();
        for id in waiting {
            let job = self.job_mut(id)?;
            job.pending_deps -= 1;
            if job.state == JobState::Blocked && job.pending_deps == 0 {
                self.move_job(now, id, JobState::Ready, |_| {})?;
            }
        }
        self.settle_all_with(now, task.job);
        Ok(artifact)
    }

    /// See [`crate::Store::fail`].
    pub(super) fn fail(&mut self, now: Micros, worker: WorkerId, task: Task, ending: Ending) -> Result<()> {
        let ended = [Outcome::Failed, Outcome::Collateral, Outcome::Released];
        let facts = self.attempt_facts(worker, task);
        if facts.is_some_and(|f| f.own && f.outcome.is_some_and(|outcome| ended.contains(&outcome))) {
            return Ok(());
        }
        self.require_writable(worker, task)?;
        match ending {
            Ending::Released => self.take_back(now, &[task], Outcome::Released),
            Ending::Failed { code, message } => self.end_failed(now, task, code, message),
        }
    }

    /// Carries out what [`on_failure`] decides.
    fn end_failed(&mut self, now: Micros, task: Task, code: ErrorCode, message: String) -> Result<()> {
        let neighbours = self.siblings(task);
        let policy = self.policy;
        let job = self.job_mut(task.job)?;
        let failure = Failure { code, tries_left: job.tries_left, neighbours, group_limit: job.group_limit };
        let after = on_failure(&failure, &policy, now);
        self.move_job(now, task.job, after.state(), |job| {
            job.tries_left = after.tries_left(&failure);
            job.group_limit = after.group_limit(&failure);
            job.not_before = after.not_before();
            job.error = Some((code, message));
        })?;
        self.end_attempt(now, task, after.outcome());
        if after.state().is_terminal() {
            self.settle_all_with(now, task.job);
        }
        Ok(())
    }

    /// Others that shared the process of an attempt: they live in its lane, or died with it.
    fn siblings(&self, task: Task) -> u32 {
        let fan_of = |id: JobId| self.jobs.get(&id).and_then(|job| job.planned.fan);
        let (Some(own), Some(fan)) = (self.attempts.get(&task), fan_of(task.job)) else { return 0 };
        let shared = |(other, row): &(&Task, &AttemptRow)| {
            other.job != task.job
                && (row.worker, row.lane) == (own.worker, own.lane)
                && fan_of(other.job) == Some(fan)
                && match row.end {
                    None => true,
                    Some((outcome, at)) => outcome == Outcome::Collateral && at >= own.started_at,
                }
        };
        self.attempts.iter().filter(shared).count() as u32
    }

    /// See [`crate::Store::promote`].
    pub(super) fn promote(&mut self, now: Micros) -> Result<u64> {
        let over = |job: &&Job| {
            job.state == JobState::Backoff && job.not_before.is_some_and(|not_before| not_before <= now)
        };
        let jobs: Vec<_> = self.jobs.values().filter(over).map(|job| job.id).collect();
        for id in &jobs {
            self.move_job(now, *id, JobState::Ready, |job| job.not_before = None)?;
        }
        Ok(jobs.len() as u64)
    }
}
