//! The JSON of commands: the wire's messages with names and units that scripts can rely on.

mod upkeep;

use std::collections::BTreeMap;

use proto::v1;
use serde::Serialize;
pub use upkeep::{Artifacts, BadArtifact, Garbage, Verified};

/// What submitting would do.
#[derive(Debug, Serialize)]
pub struct Plan {
    name: String,
    stages: Vec<StagePlan>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StagePlan {
    stage: String,
    jobs: u64,
    new: u64,
    cached: u64,
    running: u64,
}

impl From<v1::PlanReply> for Plan {
    fn from(reply: v1::PlanReply) -> Self {
        let stages = reply.stages.into_iter().map(|stage| StagePlan {
            stage: stage.stage,
            jobs: stage.jobs,
            new: stage.fresh,
            cached: stage.cached,
            running: stage.running,
        });
        Self { name: reply.name, stages: stages.collect(), notes: reply.notes }
    }
}

/// A submitted sweep.
#[derive(Debug, Serialize)]
pub struct Submitted {
    sweep: i64,
    plan: Option<Plan>,
}

impl From<v1::SubmitReply> for Submitted {
    fn from(reply: v1::SubmitReply) -> Self {
        Self { sweep: reply.sweep, plan: reply.plan.map(Plan::from) }
    }
}

/// One row of the table of scores.
#[derive(Debug, Serialize)]
pub struct Score {
    variant: String,
    category: String,
    correct: u64,
    total: u64,
    accuracy: f64,
}

impl From<v1::Score> for Score {
    fn from(score: v1::Score) -> Self {
        let accuracy = if score.total == 0 { 0.0 } else { score.correct as f64 / score.total as f64 };
        Self {
            variant: score.variant,
            category: score.category,
            correct: score.correct,
            total: score.total,
            accuracy,
        }
    }
}

/// Where a committed artifact lies.
#[derive(Debug, Serialize)]
pub struct Artifact {
    path: String,
    digest: String,
}

impl From<v1::Artifact> for Artifact {
    fn from(artifact: v1::Artifact) -> Self {
        Self { path: artifact.path, digest: artifact.digest }
    }
}

/// How a followed sweep ended: the last line of `run --json`.
#[derive(Debug, Serialize)]
pub struct Outcome {
    sweep: i64,
    state: String,
    scores: Vec<Score>,
    artifacts: BTreeMap<String, Artifact>,
}

impl From<v1::Sweep> for Outcome {
    fn from(sweep: v1::Sweep) -> Self {
        Self {
            sweep: sweep.id,
            state: sweep.state,
            scores: sweep.scores.into_iter().map(Score::from).collect(),
            artifacts: artifacts(sweep.artifacts),
        }
    }
}

fn artifacts(artifacts: impl IntoIterator<Item = (String, v1::Artifact)>) -> BTreeMap<String, Artifact> {
    artifacts.into_iter().map(|(name, artifact)| (name, artifact.into())).collect()
}

/// Sweeps and workers.
#[derive(Debug, Serialize)]
pub struct Status {
    sweeps: Vec<Sweep>,
    workers: Vec<Worker>,
}

impl From<v1::StatusReply> for Status {
    fn from(reply: v1::StatusReply) -> Self {
        Self {
            sweeps: reply.sweeps.into_iter().map(Sweep::from).collect(),
            workers: reply.workers.into_iter().map(Worker::from).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Sweep {
    id: i64,
    name: String,
    state: String,
    created_at_us: i64,
    finished_at_us: Option<i64>,
    stages: Vec<Stage>,
    scores: Vec<Score>,
    failures: Vec<Failure>,
    eta_s: Option<[f64; 2]>,
    artifacts: BTreeMap<String, Artifact>,
}

impl From<v1::Sweep> for Sweep {
    fn from(sweep: v1::Sweep) -> Self {
        Self {
            id: sweep.id,
            name: sweep.name,
            state: sweep.state,
            created_at_us: sweep.created_at,
            finished_at_us: at(sweep.finished_at),
            stages: sweep.stages.into_iter().map(Stage::from).collect(),
            scores: sweep.scores.into_iter().map(Score::from).collect(),
            failures: sweep.failures.into_iter().map(Failure::from).collect(),
            eta_s: sweep.eta_low_s.zip(sweep.eta_high_s).map(|(low, high)| [low, high]),
            artifacts: artifacts(sweep.artifacts),
        }
    }
}

/// A time of the wire, where 0 stands for none.
fn at(micros: i64) -> Option<i64> {
    (micros != 0).then_some(micros)
}

#[derive(Debug, Serialize)]
struct Stage {
    stage: String,
    jobs: u64,
    states: BTreeMap<String, u64>,
    done: f64,
    tokens: u64,
    loss: Option<f64>,
}

impl From<v1::Stage> for Stage {
    fn from(stage: v1::Stage) -> Self {
        Self {
            stage: stage.name,
            jobs: stage.jobs,
            states: stage.states.into_iter().collect(),
            done: stage.done,
            tokens: stage.tokens,
            loss: stage.loss,
        }
    }
}

#[derive(Debug, Serialize)]
struct Failure {
    job: i64,
    stage: String,
    label: String,
    waived: bool,
    code: String,
    message: String,
}

impl From<v1::Failure> for Failure {
    fn from(failure: v1::Failure) -> Self {
        let v1::Failure { job, label, stage, waived, code, message } = failure;
        Self { job, stage, label, waived, code, message }
    }
}

#[derive(Debug, Serialize)]
struct Worker {
    id: i64,
    name: String,
    host: String,
    state: String,
    lanes: Vec<String>,
    held: u64,
    silent_s: f64,
}

impl From<v1::Worker> for Worker {
    fn from(worker: v1::Worker) -> Self {
        Self {
            id: worker.id,
            name: worker.name,
            host: worker.host,
            state: worker.state,
            lanes: worker.lanes.into_iter().map(|lane| lane.device).collect(),
            held: worker.held,
            silent_s: worker.silent_s,
        }
    }
}

/// Jobs that match a question.
#[derive(Debug, Serialize)]
pub struct Jobs {
    matching: u64,
    jobs: Vec<Job>,
}

impl From<v1::JobsReply> for Jobs {
    fn from(reply: v1::JobsReply) -> Self {
        Self { matching: reply.matching, jobs: reply.jobs.into_iter().map(Job::from).collect() }
    }
}

#[derive(Debug, Serialize)]
struct Job {
    id: i64,
    key: String,
    stage: String,
    label: String,
    state: String,
    attempt: u32,
    tries_left: u32,
    worker: Option<String>,
    progress: Option<Progress>,
    error: Option<JobError>,
    artifact: Option<Artifact>,
    started_at_us: Option<i64>,
    finished_at_us: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Progress {
    step: u64,
    total: u64,
    tokens: u64,
    loss: Option<f64>,
}

#[derive(Debug, Serialize)]
struct JobError {
    code: String,
    message: String,
}

impl From<v1::Job> for Job {
    fn from(job: v1::Job) -> Self {
        Self {
            id: job.id,
            key: job.key,
            stage: job.stage,
            label: job.label,
            state: job.state,
            attempt: job.attempt,
            tries_left: job.tries_left,
            worker: (!job.worker.is_empty()).then_some(job.worker),
            progress: job.progress.map(|p| Progress {
                step: p.step,
                total: p.total,
                tokens: p.tokens,
                loss: p.loss,
            }),
            error: (!job.error_code.is_empty())
                .then_some(JobError { code: job.error_code, message: job.error }),
            artifact: job.artifact.map(Artifact::from),
            started_at_us: at(job.started_at),
            finished_at_us: at(job.finished_at),
        }
    }
}

/// How many jobs a command changed, or would.
#[derive(Debug, Serialize)]
pub struct Changed {
    changed: u64,
    /// Of a preview: state → jobs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    states: BTreeMap<String, u64>,
    /// Of a preview: seconds of device time that running attempts have spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    running_s: Option<f64>,
}

impl From<v1::SelectReply> for Changed {
    fn from(reply: v1::SelectReply) -> Self {
        let states: BTreeMap<_, _> = reply.states.into_iter().collect();
        let running_s = (!states.is_empty()).then_some(reply.running_s);
        Self { changed: reply.changed, states, running_s }
    }
}

/// Why a job stands where it stands.
#[derive(Debug, Serialize)]
pub struct Explained {
    label: String,
    state: String,
    reasons: Vec<String>,
}

impl From<v1::ExplainReply> for Explained {
    fn from(reply: v1::ExplainReply) -> Self {
        Self { label: reply.label, state: reply.state, reasons: reply.lines }
    }
}

/// Limits of owners.
#[derive(Debug, Serialize)]
pub struct Quotas {
    quotas: Vec<Quota>,
}

#[derive(Debug, Serialize)]
struct Quota {
    owner: String,
    max_lanes: u64,
    used: u64,
}

impl From<v1::QuotaReply> for Quotas {
    fn from(reply: v1::QuotaReply) -> Self {
        let quota = |limit: v1::quota_reply::Limit| Quota {
            owner: limit.owner,
            max_lanes: limit.max_lanes,
            used: limit.used,
        };
        Self { quotas: reply.limits.into_iter().map(quota).collect() }
    }
}

/// An entry of the journal. Numbers are absent where the entry is about none.
#[derive(Debug, Serialize)]
pub struct Event {
    seq: i64,
    at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sweep: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    kind: String,
}

impl From<v1::Event> for Event {
    fn from(event: v1::Event) -> Self {
        let v1::Event { seq, at, sweep, job, attempt, kind } = event;
        let attempt = (job != 0).then_some(attempt);
        Self { seq, at, sweep: (sweep != 0).then_some(sweep), job: (job != 0).then_some(job), attempt, kind }
    }
}
