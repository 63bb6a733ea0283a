//! Rows in memory, and the one way in which a job changes its state: counters and journal follow from it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use coordinator_core::lease::AttemptFacts;
use coordinator_core::policy::Policy;
use coordinator_core::sweep::{Counters, Progress};
use coordinator_core::time::Micros;
use proto::error::ErrorCode;
use proto::id::{Attempt, Digest, JobId, JobKey, LaneId, SweepId, Term, WorkerId};
use proto::pipe::Task;
use proto::state::{JobState, Outcome, SweepState};

use crate::error::{Result, StoreError};
use crate::model::{
    Completion, EventView, NewJob, NewSession, RecordedCheckpoint, SweepRow, TokenView, WorkerState,
};

/// A sweep.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    pub(super) row: SweepRow,
    pub(super) manifest_digest: Digest,
    pub(super) stages: Vec<String>,
    pub(super) trace: Option<String>,
    /// Its jobs with their stages, in plan order.
    pub(super) members: Vec<(JobId, String)>,
    /// Stage → counters, kept by [`Table::move_job`].
    pub(super) counters: BTreeMap<String, Counters>,
}

/// A job.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    pub(super) planned: NewJob,
    /// The sweeps that want it, with its stage there.
    pub(super) sweeps: Vec<(SweepId, String)>,
    pub(super) priority: i32,
    pub(super) state: JobState,
    pub(super) attempt: Attempt,
    pub(super) tries_left: u32,
    pub(super) pending_deps: u32,
    pub(super) group_limit: Option<u32>,
    pub(super) halvings: u32,
    /// The machine where it failed last, by a fault that may be the machine's.
    pub(super) avoid: Option<String>,
    pub(super) owner: String,
    pub(super) not_before: Option<Micros>,
    /// Who holds it.
    pub(super) holder: Option<(WorkerId, LaneId)>,
    pub(super) error: Option<(ErrorCode, String)>,
    pub(super) finished_at: Option<Micros>,
    pub(super) result: Option<Completion>,
}

impl Job {
    /// The newest attempt.
    pub(super) fn task(&self) -> Task {
        Task { job: self.id, attempt: self.attempt }
    }

    /// Its place in the order in which ready jobs are offered: the least goes first.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        (Reverse(self.priority), Reverse(self.planned.coverage), Reverse(self.planned.tokens), self.id)
    }
}

/// An attempt.
#[derive(Clone, Debug)]
pub(super) struct AttemptRow {
    pub(super) worker: WorkerId,
    pub(super) lane: LaneId,
    pub(super) started_at: Micros,
    /// How and when it ended.
    pub(super) end: Option<(Outcome, Micros)>,
    pub(super) progress: Progress,
    /// When it last went on.
    pub(super) progress_at: Micros,
}

/// A worker session.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) session: NewSession,
    pub(super) state: WorkerState,
    pub(super) lease_expires_at: Micros,
    pub(super) seen_at: Micros,
    /// Set while an operator wants it drained.
    pub(super) drain: Option<Duration>,
    /// Jobs that failed on it and then succeeded elsewhere.
    pub(super) blamed: u32,
}

impl Worker {
    /// Whether it takes no more jobs.
    pub(super) fn takes_none(&self, policy: &Policy) -> bool {
        self.drain.is_some() || self.session.leaving || self.blamed >= policy.blame_limit
    }
}

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) policy: Policy,
    /// The term that reigns.
    pub(super) term: Term,
    pub(super) sweeps: BTreeMap<SweepId, Sweep>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) by_key: BTreeMap<JobKey, JobId>,
    pub(super) attempts: BTreeMap<Task, AttemptRow>,
    pub(super) checkpoints: BTreeMap<(JobId, u64, Attempt), RecordedCheckpoint>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    /// Blobs that are about to be deleted, and since when.
    pub(super) condemned: BTreeMap<Digest, Micros>,
    /// Owner → lanes that he may have.
    pub(super) quotas: BTreeMap<String, u64>,
    /// Tokens by hash.
    pub(super) tokens: BTreeMap<Digest, TokenView>,
    pub(super) events: Vec<EventView>,
}

impl Table {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            term: Term(1),
            sweeps: BTreeMap::new(),
            jobs: BTreeMap::new(),
            by_key: BTreeMap::new(),
            attempts: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            workers: BTreeMap::new(),
            condemned: BTreeMap::new(),
            quotas: BTreeMap::new(),
            tokens: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn job_mut(&mut self, id: JobId) -> Result<&mut Job> {
        self.jobs.get_mut(&id).ok_or_else(|| StoreError::missing(format!("job {id}")))
    }

    /// Moves a job to another state: counters of all its sweeps, its end and the journal follow. Whatever else changes with the move is
    /// set by `change`.
    pub(super) fn move_job(
        &mut self,
        now: Micros,
        id: JobId,
        to: JobState,
        change: impl FnOnce(&mut Job),
    ) -> Result<()> {
        let job = self.jobs.get_mut(&id).ok_or_else(|| StoreError::missing(format!("job {id}")))?;
        let from = job.state;
        if !from.may_become(to) {
            return Err(StoreError::IllegalMove { job: id, from, to });
        }
        let tokens = job.planned.tokens;
        let device_ms = |job: &Job| job.result.as_ref().map_or(0, |result| result.device_ms);
        let before = device_ms(job);
        job.state = to;
        job.finished_at = to.is_terminal().then_some(now);
        if !to.is_held() {
            job.holder = None;
        }
        change(job);
        let after = device_ms(job);
        let attempt = Some(job.attempt);
        for (sweep, stage) in &job.sweeps {
            if let Some(counters) = self.sweeps.get_mut(sweep).and_then(|s| s.counters.get_mut(stage)) {
                let old = counters.entry(from).or_default();
                old.jobs -= 1;
                old.tokens -= tokens;
                old.device_ms -= before;
                if old.jobs == 0 {
                    counters.remove(&from);
                }
                let new = counters.entry(to).or_default();
                new.jobs += 1;
                new.tokens += tokens;
                new.device_ms += after;
            }
        }
        self.note(now, None, Some(id), attempt, format!("job.{to}"));
        Ok(())
    }

    /// Moves a sweep to another state.
    pub(super) fn move_sweep(&mut self, now: Micros, id: SweepId, to: SweepState) {
        if let Some(sweep) = self.sweeps.get_mut(&id) {
            sweep.row.state = to;
            sweep.row.finished_at = to.is_terminal().then_some(now);
            self.sweep_event(now, id, to);
        }
    }

    /// Notes a sweep's state in the journal.
    pub(super) fn sweep_event(&mut self, now: Micros, id: SweepId, to: SweepState) {
        self.note(now, Some(id), None, None, format!("sweep.{to}"));
    }

    /// Adds an entry to the journal.
    pub(super) fn note(
        &mut self,
        at: Micros,
        sweep: Option<SweepId>,
        job: Option<JobId>,
        attempt: Option<Attempt>,
        kind: String,
    ) {
        let seq = self.events.len() as i64 + 1;
        self.events.push(EventView { seq, at, sweep, job, attempt, kind });
    }

    /// Ends a living attempt.
    pub(super) fn end_attempt(&mut self, now: Micros, task: Task, outcome: Outcome) {
        if let Some(row) = self.attempts.get_mut(&task)
            && row.end.is_none()
        {
            row.end = Some((outcome, now));
        }
    }

    /// Makes held jobs ready again and ends their attempts, at no cost to their budgets.
    pub(super) fn take_back(&mut self, now: Micros, tasks: &[Task], outcome: Outcome) -> Result<()> {
        for task in tasks {
            self.move_job(now, task.job, JobState::Ready, |_| {})?;
            self.end_attempt(now, *task, outcome);
        }
        Ok(())
    }

    /// What a session holds, as the table believes.
    pub(super) fn held_by(&self, worker: WorkerId) -> Vec<Task> {
        let held = self.jobs.values().filter(|job| job.holder.is_some_and(|(holder, _)| holder == worker));
        held.map(Job::task).collect()
    }

    /// What decides whether an attempt may write on behalf of a session. None when there never was such an attempt.
    pub(super) fn attempt_facts(&self, worker: WorkerId, task: Task) -> Option<AttemptFacts> {
        let job = self.jobs.get(&task.job)?;
        let row = self.attempts.get(&task)?;
        Some(AttemptFacts {
            newest: job.attempt,
            state: job.state,
            own: row.worker == worker,
            outcome: row.end.map(|(outcome, _)| outcome),
        })
    }

    /// Fails unless a session is live.
    pub(super) fn require_session(&self, worker: WorkerId) -> Result<()> {
        match self.workers.get(&worker) {
            Some(Worker { state: WorkerState::Live, .. }) => Ok(()),
            _ => Err(StoreError::SessionLost(worker)),
        }
    }
}
