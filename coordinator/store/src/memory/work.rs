//! Attempts: claimed, checkpointed, committed, failed.

use std::collections::BTreeSet;

use coordinator_core::lease::{may_write, stalled_before};
use coordinator_core::offer::{Candidate, LaneFacts, WINDOW, best, choose, exhausted};
use coordinator_core::retry::{Failure, on_failure};
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use proto::error::ErrorCode;
use proto::id::{Attempt, Digest, JobId, WorkerId};
use proto::pipe::Task;
use proto::state::{JobState, Outcome, SweepState};

use super::table::{AttemptRow, Job, Table, Worker};
use crate::error::{Result, StoreError};
use crate::model::{Artifact, Claim, Commit, Ending, Input, Offer, RecordedCheckpoint, Source, WorkerState};

impl Table {
    /// See [`crate::Store::claim`].
    pub(super) fn claim(&mut self, now: Micros, claim: &Claim) -> Result<Vec<Offer>> {
        self.require_session(claim.worker)?;
        if self.workers.get(&claim.worker).is_some_and(|row| row.takes_none(&self.policy)) {
            return Ok(Vec::new());
        }
        let (lane, owners) = self.lane_facts(claim);
        let quotas = self.quotas();
        let excluded = exhausted(&quotas, &owners);
        let any = self.candidates(claim.fan, &excluded);
        let fan = claim.fan.or_else(|| best(&lane, &any).and_then(|best| best.fan));
        let ready = if fan.is_some() { self.candidates(fan, &excluded) } else { any };
        let chosen = choose(&lane, &ready);
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
                progress_at: now,
            };
            self.attempts.insert(task, row);
        }
        Ok(chosen.iter().filter_map(|id| self.jobs.get(id)).map(|job| self.offer(job)).collect())
    }

    /// The lane as the decision sees it, and whose jobs it holds.
    fn lane_facts(&self, claim: &Claim) -> (LaneFacts, Vec<String>) {
        let in_lane = || self.jobs.values().filter(|job| job.holder == Some((claim.worker, claim.lane)));
        let in_fan = || in_lane().filter(|job| job.planned.fan.is_some() && job.planned.fan == claim.fan);
        let host = self.workers.get(&claim.worker).map(|row| row.session.host.clone());
        let lane = LaneFacts {
            fan: claim.fan,
            held: in_fan().count() as u32,
            group_limit: in_fan().filter_map(|job| job.group_limit).min(),
            free_slots: claim.free_slots,
            prefetch: claim.prefetch,
            host: host.unwrap_or_default(),
            fleet: self.fleet(),
        };
        (lane, in_lane().map(|job| job.owner.clone()).collect())
    }

    /// Ready jobs, best first; with `fan`, only of that fan.
    fn candidates(&self, fan: Option<Digest>, excluded: &[&str]) -> Vec<Candidate> {
        let ready = self.jobs.values().filter(|job| job.state == JobState::Ready);
        let mut ready: Vec<_> = ready
            .filter(|job| fan.is_none() || job.planned.fan == fan)
            .filter(|job| !excluded.contains(&job.owner.as_str()))
            .collect();
        ready.sort_by_key(|job| job.rank());
        let candidate = |job: &Job| Candidate {
            job: job.id,
            fan: job.planned.fan,
            group_limit: job.group_limit,
            avoid: job.avoid.clone(),
        };
        ready.into_iter().take(WINDOW as usize).map(candidate).collect()
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
        let mut live = job.sweeps.iter().rev().filter_map(|(id, _)| self.sweeps.get(id));
        let sweep = live.find(|sweep| sweep.row.state == SweepState::Running);
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
            sweep: sweep.map(|sweep| sweep.row.name.clone()).unwrap_or_default(),
            halvings: job.halvings,
            trace: sweep.and_then(|sweep| sweep.trace.clone()),
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
    pub(super) fn record_progress(&mut self, now: Micros, progress: &[(Task, Progress)]) {
        for (task, progress) in progress {
            if let Some(row) = self.attempts.get_mut(task).filter(|row| row.end.is_none()) {
                if (row.progress.step, row.progress.tokens) != (progress.step, progress.tokens) {
                    row.progress_at = now;
                }
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
        blobs: &[Digest],
    ) -> Result<()> {
        self.require_writable(worker, task)?;
        self.require_kept(blobs.iter().copied().chain([checkpoint.artifact.digest]))?;
        self.checkpoints.entry((task.job, checkpoint.step, task.attempt)).or_insert(checkpoint);
        let older: Vec<_> = self.checkpoints_of(task.job).rev().skip(2).collect();
        for key in older {
            self.checkpoints.remove(&key);
        }
        Ok(())
    }

    /// The checkpoints of a job, the newest last.
    fn checkpoints_of(&self, job: JobId) -> impl DoubleEndedIterator<Item = (JobId, u64, Attempt)> {
        let all = (job, 0, Attempt(0))..=(job, u64::MAX, Attempt(u32::MAX));
        self.checkpoints.range(all).map(|(key, _)| *key)
    }

    /// Fails if one of some objects is about to be deleted.
    fn require_kept(&self, mut digests: impl Iterator<Item = Digest>) -> Result<()> {
        match digests.find(|digest| self.condemned.contains_key(digest)) {
            None => Ok(()),
            Some(digest) => Err(StoreError::Condemned(digest)),
        }
    }

    /// See [`crate::Store::complete`].
    pub(super) fn complete(&mut self, now: Micros, commit: Commit) -> Result<Artifact> {
        let Commit { worker, task, completion } = commit;
        if let Some(winner) = self.artifact_of(task.job) {
            return Ok(winner);
        }
        self.require_writable(worker, task)?;
        self.require_kept(completion.digests())?;
        let artifact = completion.artifact.clone();
        self.move_job(now, task.job, JobState::Succeeded, |job| {
            job.result = Some(completion);
            job.error = None;
        })?;
        self.blame(worker, task.job);
        self.end_attempt(now, task, Outcome::Committed);
        self.checkpoints.retain(|(job, _, _), _| *job != task.job);
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
        self.settle_all_with(now, &BTreeSet::from([task.job]))?;
        Ok(artifact)
    }

    /// Notes the machine on which a job had failed that has now succeeded on another.
    fn blame(&mut self, winner: WorkerId, job: JobId) {
        let host = self.workers.get(&winner).map(|row| row.session.host.clone());
        let Some(avoided) = self.jobs.get(&job).and_then(|job| job.avoid.clone()) else { return };
        if host.as_ref() != Some(&avoided) {
            let there =
                |row: &&mut Worker| row.session.host == avoided && row.state != WorkerState::Superseded;
            self.workers.values_mut().filter(there).for_each(|row| row.blamed += 1);
        }
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
        let worker = self.attempts.get(&task).and_then(|row| self.workers.get(&row.worker));
        let host = worker.map(|row| row.session.host.clone());
        let job = self.job_mut(task.job)?;
        let (tries_left, group_limit, halvings) = (job.tries_left, job.group_limit, job.halvings);
        let failure = Failure { code, tries_left, neighbours, group_limit, halvings };
        let after = on_failure(&failure, &policy, now);
        self.move_job(now, task.job, after.state, |job| {
            job.tries_left = after.tries_left;
            job.group_limit = after.group_limit;
            job.halvings = after.halvings;
            job.not_before = after.not_before;
            job.error = Some((code, message));
            if after.avoid_machine {
                job.avoid = host;
            }
        })?;
        self.end_attempt(now, task, after.outcome);
        if after.discard_checkpoint {
            let newest = self.checkpoints_of(task.job).next_back();
            self.checkpoints.retain(|key, _| Some(*key) != newest);
        }
        if after.state.is_terminal() {
            self.settle_all_with(now, &BTreeSet::from([task.job]))?;
        }
        Ok(())
    }

    /// See [`crate::Store::stall`].
    pub(super) fn stall(&mut self, now: Micros, serving_since: Micros) -> Result<u64> {
        let Some(before) = stalled_before(serving_since, &self.policy, now) else { return Ok(0) };
        let stalled = |job: &&Job| {
            let row = self.attempts.get(&job.task());
            job.state == JobState::Running && row.is_some_and(|row| row.progress_at <= before)
        };
        let stalled: Vec<_> = self.jobs.values().filter(stalled).map(Job::task).collect();
        for task in &stalled {
            let message = format!("no progress for {} s", self.policy.stall_after.as_secs());
            self.end_failed(now, *task, ErrorCode::Stalled, message)?;
        }
        Ok(stalled.len() as u64)
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
