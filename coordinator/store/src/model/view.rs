//! What the job table shows.

use std::collections::BTreeMap;

use coordinator_core::sweep::{Counters, Progress};
use coordinator_core::time::Micros;
use proto::error::ErrorCode;
use proto::id::{Attempt, JobId, JobKey, SweepId, WorkerId};
use proto::pipe::Task;
use proto::state::{JobState, SweepState};
use serde_json::Value;

use super::{Artifact, Lane};

/// A sweep without its jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepRow {
    /// The sweep.
    pub id: SweepId,
    /// What people call it.
    pub name: String,
    /// Where it stands.
    pub state: SweepState,
    /// When it was submitted.
    pub created_at: Micros,
    /// When it ended.
    pub finished_at: Option<Micros>,
}

/// A sweep with what status needs. Its cost grows with stages, lanes and results, not with jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepView {
    /// The sweep.
    pub row: SweepRow,
    /// Its stages in order.
    pub stages: Vec<StageView>,
    /// Jobs that a worker holds.
    pub held: Vec<HeldView>,
    /// Committed artifacts that are results in themselves, in plan order.
    pub results: Vec<ResultView>,
    /// The first jobs that failed or were waived, at most [`SweepView::FAILURES`].
    pub failures: Vec<FailureView>,
}

impl SweepView {
    /// How many of them are shown.
    pub const FAILURES: u32 = 20;
}

/// One stage of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageView {
    /// The stage.
    pub name: String,
    /// Its jobs by state.
    pub counters: Counters,
}

/// A job that a worker holds.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldView {
    /// Its stage.
    pub stage: String,
    /// The attempt.
    pub task: Task,
    /// The job's planned tokens.
    pub tokens: u64,
    /// Its progress when it was last written down.
    pub progress: Progress,
}

/// A committed artifact of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultView {
    /// Its job's stage.
    pub stage: String,
    /// Its job's label.
    pub label: String,
    /// What it is to the job.
    pub role: String,
    /// The artifact.
    pub artifact: Artifact,
    /// The figures that were committed with it.
    pub metrics: Value,
}

/// A job that failed or was waived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureView {
    /// The job.
    pub job: JobId,
    /// Its label.
    pub label: String,
    /// Its stage.
    pub stage: String,
    /// Whether the sweep goes on without it.
    pub waived: bool,
    /// What failed last.
    pub code: Option<ErrorCode>,
    /// One line with cause and place.
    pub message: String,
}

/// Where a worker session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// Its lease holds.
    Live,
    /// Its lease ran out; it may register again.
    Lost,
    /// A newer process of its name has taken its place.
    Superseded,
}

impl WorkerState {
    /// The name in the table and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Lost => "lost",
            Self::Superseded => "superseded",
        }
    }
}

/// A worker session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// The session.
    pub id: WorkerId,
    /// The worker's name.
    pub name: String,
    /// The machine.
    pub host: String,
    /// Where the session stands: live or lost.
    pub state: WorkerState,
    /// Its lanes.
    pub lanes: Vec<Lane>,
    /// Jobs that it holds.
    pub held: u64,
    /// Whether it takes no more jobs: an operator drains it, or it is on its way out.
    pub draining: bool,
    /// Its last heartbeat.
    pub seen_at: Micros,
}

/// Which jobs of a sweep to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFilter {
    /// The sweep.
    pub sweep: SweepId,
    /// Only of this stage.
    pub stage: Option<String>,
    /// Only in this state.
    pub state: Option<JobState>,
    /// At most this many.
    pub limit: u32,
}

/// Some jobs of a sweep, in plan order.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// How many match, before the limit.
    pub matching: u64,
}

/// A job of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// Its identity.
    pub key: JobKey,
    /// Its stage.
    pub stage: String,
    /// Its label.
    pub label: String,
    /// Where it stands.
    pub state: JobState,
    /// Its newest attempt; 0 before the first.
    pub attempt: Attempt,
    /// Its remaining tries.
    pub tries_left: u32,
    /// Name of the worker of its newest attempt.
    pub worker: Option<String>,
    /// Progress of its newest attempt when it was last written down.
    pub progress: Progress,
    /// What failed last.
    pub code: Option<ErrorCode>,
    /// One line with cause and place.
    pub error: Option<String>,
    /// Its artifact.
    pub artifact: Option<Artifact>,
    /// When its newest attempt began.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub finished_at: Option<Micros>,
}

/// An artifact that the table refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactView {
    /// The job that made or reads it, and the attempt that made it; attempt 0 for what was there before.
    pub task: Task,
    /// The job's kind.
    pub kind: String,
    /// The job's label.
    pub label: String,
    /// What it is to the job: the role of a result, `checkpoint`, or `input` and its name.
    pub role: String,
    /// Where it is.
    pub artifact: Artifact,
    /// Bytes of its files; known of results.
    pub bytes: Option<u64>,
}

/// A job's newest attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// The job's identity.
    pub key: JobKey,
    /// The attempt; 0 before the first.
    pub attempt: Attempt,
    /// Where the job stands.
    pub state: JobState,
}

/// The whole table in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Jobs by state, summed over sweeps: one that several sweeps share counts in each of them.
    pub jobs: BTreeMap<JobState, u64>,
    /// Workers whose lease holds.
    pub workers: u64,
    /// Their lanes.
    pub lanes: u64,
    /// Lanes that hold jobs.
    pub busy: u64,
    /// The newest entry of the journal; 0 before the first.
    pub events: u64,
}

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventView {
    /// Its place in the journal; grows.
    pub seq: i64,
    /// When.
    pub at: Micros,
    /// The sweep, for an event of a sweep.
    pub sweep: Option<SweepId>,
    /// The job, for an event of a job.
    pub job: Option<JobId>,
    /// The job's newest attempt then.
    pub attempt: Option<Attempt>,
    /// `job.<state>` or `sweep.<state>`.
    pub kind: String,
}
