//! Which jobs of a sweep an operator means.

use std::collections::BTreeMap;

use coordinator_core::time::Micros;
use coordinator_store::model::{JobFilter, JobView, Selection};
use proto::error::ErrorCode;
use proto::id::{JobId, SweepId};
use proto::state::JobState;
use proto::v1;
use tonic::Status;
use wildmatch::WildMatch;

use super::refuse;

/// The conditions of a selection.
pub(super) struct Conditions {
    jobs: Vec<JobId>,
    stage: Option<String>,
    state: Option<JobState>,
    label: Option<WildMatch>,
    code: Option<ErrorCode>,
    loss_above: Option<f64>,
}

impl Conditions {
    pub(super) fn read(request: &v1::SelectRequest) -> Result<Self, Status> {
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let state = given(&request.state).map(|text| text.parse()).transpose();
        let code = given(&request.error_code).map(|text| text.parse()).transpose();
        Ok(Self {
            jobs: request.jobs.iter().copied().map(JobId).collect(),
            stage: given(&request.stage),
            state: state.map_err(|e| refuse::field("state", e))?,
            label: given(&request.label).map(|pattern| WildMatch::new(&pattern)),
            code: code.map_err(|e| refuse::field("error_code", e))?,
            loss_above: request.loss_above,
        })
    }

    /// Whether the table can tell the jobs by their ids alone: there is no other condition.
    pub(super) fn by_id_alone(&self) -> bool {
        let Self { stage, state, label, code, loss_above, .. } = self;
        stage.is_none() && state.is_none() && label.is_none() && code.is_none() && loss_above.is_none()
    }

    /// Whether every job of the sweep is meant.
    pub(super) fn any_job(&self) -> bool {
        self.by_id_alone() && self.jobs.is_empty()
    }

    /// What to ask the table for.
    pub(super) fn filter(&self, sweep: SweepId) -> JobFilter {
        JobFilter { sweep, stage: self.stage.clone(), state: self.state, limit: u32::MAX }
    }

    /// Whether a job that the table gave is meant.
    pub(super) fn meets(&self, job: &JobView) -> bool {
        (self.jobs.is_empty() || self.jobs.contains(&job.id))
            && self.label.as_ref().is_none_or(|pattern| pattern.matches(&job.label))
            && self.code.is_none_or(|code| job.code == Some(code))
            && self.loss_above.is_none_or(|limit| job.progress.loss.is_some_and(|loss| loss > limit))
    }

    /// The selection of jobs by their ids alone.
    pub(super) fn selection(&self, sweep: SweepId) -> Selection {
        Selection { sweep, jobs: self.jobs.clone() }
    }
}

/// What a change of some jobs would mean.
pub(super) fn preview(jobs: &[JobView], now: Micros) -> v1::SelectReply {
    let mut states = BTreeMap::<String, u64>::new();
    let mut running_s = 0.0;
    for job in jobs {
        *states.entry(job.state.name().to_owned()).or_default() += 1;
        if let Some(started) = job.started_at.filter(|_| job.state.is_held()) {
            running_s += now.since(started).as_secs_f64();
        }
    }
    v1::SelectReply { changed: jobs.len() as u64, states: states.into_iter().collect(), running_s }
}
