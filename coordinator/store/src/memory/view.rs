//! What the table shows.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::invariants::JobFacts;
use coordinator_core::sweep::Progress;
use proto::id::{JobKey, SweepId};
use proto::pipe::Task;
use proto::state::JobState;

use super::table::{Job, Table};
use crate::model::{
    FailureView, HeldView, JobFilter, JobPage, JobView, ResultView, StageView, SweepRow, SweepView, Totals,
    WorkerState, WorkerView,
};

impl Table {
    /// See [`crate::Store::find_sweep`].
    pub(super) fn find_sweep(&self, id_or_name: &str) -> Option<SweepRow> {
        let by_id = id_or_name.parse().ok().and_then(|id| self.sweeps.get(&SweepId(id)));
        let found = by_id.or_else(|| self.sweeps.values().rev().find(|s| s.row.name == id_or_name));
        found.map(|sweep| sweep.row.clone())
    }

    /// See [`crate::Store::sweeps`].
    pub(super) fn all_sweeps(&self) -> Vec<SweepRow> {
        self.sweeps.values().rev().map(|sweep| sweep.row.clone()).collect()
    }

    /// See [`crate::Store::sweep`].
    pub(super) fn sweep_view(&self, id: SweepId) -> Option<SweepView> {
        let sweep = self.sweeps.get(&id)?;
        let members = || sweep.members.iter().filter_map(|(id, stage)| Some((self.jobs.get(id)?, stage)));
        let stage = |name: &String| StageView {
            name: name.clone(),
            counters: sweep.counters.get(name).cloned().unwrap_or_default(),
        };
        let held = members().filter(|(job, _)| job.state.is_held()).map(|(job, stage)| HeldView {
            stage: stage.clone(),
            task: job.task(),
            tokens: job.planned.tokens,
            progress: self.progress_of(job),
        });
        let results = members().filter(|(job, _)| job.planned.fan.is_none()).filter_map(|(job, stage)| {
            let result = job.result.as_ref()?;
            Some(ResultView {
                stage: stage.clone(),
                label: job.planned.label.clone(),
                role: result.role.clone(),
                artifact: result.artifact.clone(),
                metrics: result.metrics.clone(),
            })
        });
        let failed = members().filter(|(job, _)| matches!(job.state, JobState::Failed | JobState::Skipped));
        let mut failures: Vec<_> = failed
            .map(|(job, stage)| FailureView {
                job: job.id,
                label: job.planned.label.clone(),
                stage: stage.clone(),
                waived: job.state == JobState::Skipped,
                code: job.error.as_ref().map(|(code, _)| *code),
                message: job.error.as_ref().map(|(_, message)| message.clone()).unwrap_or_default(),
            })
            .collect();
        failures.sort_by_key(|failure| failure.job);
        failures.truncate(SweepView::FAILURES as usize);
        Some(SweepView {
            row: sweep.row.clone(),
            stages: sweep.stages.iter().map(stage).collect(),
            held: held.collect(),
            results: results.collect(),
            failures,
        })
    }

    fn progress_of(&self, job: &Job) -> Progress {
        self.attempts.get(&job.task()).map(|row| row.progress).unwrap_or_default()
    }

    /// See [`crate::Store::workers`].
    pub(super) fn worker_views(&self) -> Vec<WorkerView> {
        let shown = self.workers.iter().filter(|(_, row)| row.state != WorkerState::Superseded);
        let view = shown.map(|(id, row)| WorkerView {
            id: *id,
            name: row.session.name.clone(),
            host: row.session.host.clone(),
            state: row.state,
            lanes: row.session.lanes.clone(),
            held: self.held_by(*id).len() as u64,
            draining: row.takes_none(&self.policy),
            seen_at: row.seen_at,
        });
        let mut workers: Vec<_> = view.collect();
        workers.sort_by(|a, b| a.name.cmp(&b.name));
        workers
    }

    /// See [`crate::Store::totals`].
    pub(super) fn totals(&self) -> Totals {
        let mut jobs = BTreeMap::<JobState, u64>::new();
        for (state, tally) in self.sweeps.values().flat_map(|sweep| sweep.counters.values().flatten()) {
            *jobs.entry(*state).or_default() += tally.jobs;
        }
        jobs.retain(|_, jobs| *jobs > 0);
        let live = || self.workers.values().filter(|worker| worker.state == WorkerState::Live);
        let busy: BTreeSet<_> = self.jobs.values().filter_map(|job| job.holder).collect();
        Totals {
            jobs,
            workers: live().count() as u64,
            lanes: live().map(|worker| worker.session.lanes.len() as u64).sum(),
            busy: busy.len() as u64,
            events: self.events.last().map_or(0, |event| event.seq.unsigned_abs()),
        }
    }

    /// See [`crate::Store::jobs`].
    pub(super) fn job_page(&self, filter: &JobFilter) -> JobPage {
        let members =
            self.sweeps.get(&filter.sweep).map(|sweep| sweep.members.as_slice()).unwrap_or_default();
        let jobs = members.iter().filter_map(|(id, stage)| Some((self.jobs.get(id)?, stage)));
        let matching: Vec<_> = jobs
            .filter(|(job, stage)| {
                filter.stage.as_ref().is_none_or(|wanted| wanted == *stage)
                    && filter.state.is_none_or(|wanted| wanted == job.state)
            })
            .collect();
        let page = matching.iter().take(filter.limit as usize);
        let jobs = page.map(|(job, stage)| self.job_view(job, stage)).collect();
        JobPage { jobs, matching: matching.len() as u64 }
    }

    fn job_view(&self, job: &Job, stage: &str) -> JobView {
        let attempt = self.attempts.get(&job.task());
        let worker = attempt.and_then(|row| self.workers.get(&row.worker));
        JobView {
            id: job.id,
            key: job.planned.key,
            stage: stage.to_owned(),
            label: job.planned.label.clone(),
            state: job.state,
            attempt: job.attempt,
            tries_left: job.tries_left,
            worker: worker.map(|row| row.session.name.clone()),
            progress: self.progress_of(job),
            code: job.error.as_ref().map(|(code, _)| *code),
            error: job.error.as_ref().map(|(_, message)| message.clone()),
            artifact: self.artifact_of(job.id),
            started_at: attempt.map(|row| row.started_at),
            finished_at: job.finished_at,
        }
    }

    /// See [`crate::Store::states`].
    pub(super) fn states(&self, keys: &[JobKey]) -> BTreeMap<JobKey, JobState> {
        let state = |key: &JobKey| Some((*key, self.jobs.get(self.by_key.get(key)?)?.state));
        keys.iter().filter_map(state).collect()
    }

    /// See [`crate::Store::facts`].
    pub(super) fn facts(&self) -> Vec<JobFacts> {
        let facts = |job: &Job| {
            let of_job = Task { job: job.id, attempt: proto::id::Attempt(0) }..=Task {
                job: job.id,
                attempt: proto::id::Attempt(u32::MAX),
            };
            let outcomes = self.attempts.range(of_job);
            JobFacts {
                id: job.id,
                state: job.state,
                attempt: job.attempt,
                pending_deps: job.pending_deps,
                finished_at: job.finished_at,
                has_worker: job.holder.is_some(),
                artifacts: u32::from(job.result.is_some()),
                outcomes: outcomes
                    .map(|(task, row)| (task.attempt, row.end.map(|(outcome, _)| outcome)))
                    .collect(),
            }
        };
        self.jobs.values().map(facts).collect()
    }
}
