//! What workers and the job table tell each other.

use std::time::Duration;

use proto::error::ErrorCode;
use proto::id::{Digest, JobKey, LaneId, WorkerId};
use proto::pipe::Task;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Artifact;

/// A device of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Its number within the worker.
    pub id: LaneId,
    /// What it is: `cpu`, `cuda:0`.
    pub device: String,
}

/// A worker that opens or renews its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// The worker's name; a newer process of the same name replaces an older one.
    pub name: String,
    /// Unique per process start.
    pub incarnation: String,
    /// The machine.
    pub host: String,
    /// The worker's version.
    pub version: String,
    /// Its lanes.
    pub lanes: Vec<Lane>,
    /// Whether it is on its way out and takes no more jobs.
    pub leaving: bool,
}

/// An opened session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The session.
    pub worker: WorkerId,
    /// Held attempts that go on.
    pub keep: Vec<Task>,
    /// Held attempts that must be killed.
    pub fenced: Vec<Task>,
}

/// A lane asks for jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The session.
    pub worker: WorkerId,
    /// The lane.
    pub lane: LaneId,
    /// The fan that runs in it; none when it is idle.
    pub fan: Option<Digest>,
    /// Further jobs it can start.
    pub free_slots: u32,
    /// Further jobs that the worker would hold ready for it.
    pub prefetch: u32,
}

/// A job for a lane, with everything needed to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The job and its new attempt.
    pub task: Task,
    /// The job's key.
    pub key: JobKey,
    /// Its kind.
    pub kind: String,
    /// What people call it.
    pub label: String,
    /// Its spec as JSON.
    pub spec: String,
    /// Its fan.
    pub fan: Option<Digest>,
    /// How the lane runs the fan, as JSON.
    pub fan_limits: Option<String>,
    /// Its inputs, by name.
    pub inputs: Vec<Input>,
    /// The highest recorded checkpoint.
    pub checkpoint: Option<RecordedCheckpoint>,
    /// A live sweep that wants it, for people.
    pub sweep: String,
    /// How often memory ran out in earlier attempts.
    pub halvings: u32,
    /// Where its sweep's trace begins (W3C traceparent).
    pub trace: Option<String>,
}

/// A resolved input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The name under which the job reads it.
    pub name: String,
    /// What it reads.
    pub artifact: Artifact,
}

/// A checkpoint from which an attempt may resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCheckpoint {
    /// Steps done.
    pub step: u64,
    /// The saved state.
    pub artifact: Artifact,
}

/// An attempt that a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The attempt.
    pub task: Task,
    /// Whether a runner computes it, or it waits in the worker.
    pub running: bool,
}

/// A worker's sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The session.
    pub worker: WorkerId,
    /// All that it holds.
    pub held: Vec<Held>,
    /// Whether it is on its way out and takes no more jobs.
    pub leaving: bool,
}

/// What a worker is told in return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Attempts that it must kill.
    pub fenced: Vec<Task>,
    /// Set while an operator wants it drained: how long running jobs may go on.
    pub drain: Option<Duration>,
}

/// An attempt that hands in its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The session.
    pub worker: WorkerId,
    /// The attempt.
    pub task: Task,
    /// The result.
    pub completion: Completion,
}

/// An attempt's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// What the artifact is to the job: adapter, gate, report, ….
    pub role: String,
    /// The artifact.
    pub artifact: Artifact,
    /// Its size.
    pub bytes: u64,
    /// Figures for status and report.
    pub metrics: Value,
    /// Device time that the attempt took, in milliseconds.
    pub device_ms: u64,
    /// The blobs that the artifact's manifest names.
    pub blobs: Vec<Digest>,
}

impl Completion {
    /// Everything that must stay in the object store once this is committed: blobs and manifest.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.blobs.iter().copied().chain([self.artifact.digest])
    }
}

/// How an attempt ends without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It failed.
    Failed {
        /// Why.
        code: ErrorCode,
        /// One line with cause and place.
        message: String,
    },
    /// The worker gives it back; costs nothing.
    Released,
}
