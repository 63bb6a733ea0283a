//! From plans to rows of the job table, and what a plan would change.

use std::collections::BTreeMap;

use coordinator_store::model::{Artifact, NewInput, NewJob, NewSweep, Source};
use jobs_spec::job::{Input, PlannedJob, input};
use proto::id::{Digest, JobKey};
use proto::state::JobState;
use proto::v1;
use tonic::Status;

use super::planner::Planned;

/// A planned sweep as the job table records it.
pub(super) fn new_sweep(
    planned: &Planned,
    owner: String,
    priority: i32,
    trace: Option<String>,
) -> Result<NewSweep, Status> {
    let imports: BTreeMap<_, _> =
        planned.imports.iter().map(|import| (import.artifact.digest, &import.artifact.path)).collect();
    let jobs = planned.jobs.iter().map(|job| new_job(job, &imports)).collect::<Result<_, _>>()?;
    Ok(NewSweep {
        name: planned.name.clone(),
        manifest_digest: planned.manifest_digest,
        owner,
        priority,
        stages: planned.stages.clone(),
        trace,
        jobs,
    })
}

fn new_job(job: &PlannedJob, imports: &BTreeMap<Digest, &String>) -> Result<NewJob, Status> {
    let unsound =
        |why: String| Status::internal(format!("the plan of job `{}` is unsound: {why}", job.label));
    let json = |value: Result<String, serde_json::Error>| value.map_err(|error| unsound(error.to_string()));
    let mut inputs = Vec::new();
    for (name, input) in &job.inputs {
        let source = match input {
            Input::Job(key) => Source::Job(*key),
            Input::Artifact(digest) => {
                let path = imports.get(digest).ok_or_else(|| unsound(format!("{digest} is not imported")))?;
                Source::Artifact(Artifact { path: (*path).clone(), digest: *digest })
            }
        };
        inputs.push(NewInput {
            name: name.clone(),
            source,
            optional: input::tool_of_adapter(name).is_some(),
        });
    }
    Ok(NewJob {
        key: job.key,
        kind: job.spec.kind().to_owned(),
        stage: job.spec.kind().to_owned(),
        label: job.label.clone(),
        spec: json(serde_json::to_string(&job.spec))?,
        inputs,
        fan: job.fan,
        fan_limits: job.fan_limits.map(|limits| json(serde_json::to_string(&limits))).transpose()?,
        coverage: job.coverage,
        may_miss: job.may_miss,
        tokens: job.tokens,
    })
}

/// What submitting a plan would do, stage by stage, given where its jobs stand in the table.
pub fn preview(planned: &Planned, states: &BTreeMap<JobKey, JobState>) -> v1::PlanReply {
    let stage = |name: &String| {
        let mut plan = v1::StagePlan { stage: name.clone(), ..Default::default() };
        for job in planned.jobs.iter().filter(|job| job.spec.kind() == name) {
            plan.jobs += 1;
            match states.get(&job.key) {
                Some(JobState::Succeeded) => plan.cached += 1,
                None | Some(JobState::Failed | JobState::Cancelled | JobState::Skipped) => plan.fresh += 1,
                Some(
                    JobState::Blocked
                    | JobState::Ready
                    | JobState::Leased
                    | JobState::Running
                    | JobState::Backoff,
                ) => plan.running += 1,
            }
        }
        plan
    };
    v1::PlanReply {
        name: planned.name.clone(),
        stages: planned.stages.iter().map(stage).collect(),
        notes: planned.notes.clone(),
    }
}
