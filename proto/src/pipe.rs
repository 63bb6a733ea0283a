//! The pipe between a worker and its runner: one JSON object a line, both ways. Standard input carries [`ToRunner`], standard output
//! [`FromRunner`]; standard error is the runner's log. The end of standard input tells the runner to exit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::id::{Attempt, JobId, JobKey};

/// Names one execution of one job on both sides of the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Task {
    /// The job.
    pub job: JobId,
    /// Its attempt.
    pub attempt: Attempt,
}

/// From worker to runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "messages are sent one by one, never stored in bulk")]
pub enum ToRunner {
    /// Start a job. Sent only while the runner has a free slot for it.
    Start(Start),
    /// Drop a job without a word: it was cancelled or fenced.
    Stop {
        /// The job to drop.
        task: Task,
    },
    /// Write a checkpoint now (drain, shutdown).
    Checkpoint {
        /// The job to save.
        task: Task,
    },
}

/// A job to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The job and attempt.
    pub task: Task,
    /// The job's key; seeds are drawn from it.
    pub key: JobKey,
    /// The job spec, as the planner wrote it.
    pub spec: serde_json::Value,
    /// Input folders by name.
    pub inputs: BTreeMap<String, PathBuf>,
    /// An empty folder of this attempt's own. The result goes to `output/` in it, checkpoints beside that.
    pub scratch: PathBuf,
    /// A folder with the newest recorded checkpoint, if there is one.
    pub resume: Option<PathBuf>,
    /// How the lane runs a fan that this job belongs to, as the planner wrote it.
    pub fan_limits: Option<serde_json::Value>,
    /// How often memory ran out in earlier attempts: passes are halved as often, at the same effective batch.
    #[serde(default)]
    pub halvings: u32,
}

/// From runner to worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromRunner {
    /// First line: the runner is up.
    Hello {
        /// The device it drives.
        device: String,
        /// The job kinds it knows.
        kinds: Vec<String>,
        /// Its version, equal to the worker's.
        version: String,
    },
    /// The job has been taken and its inputs load.
    Started {
        /// The job.
        task: Task,
    },
    /// How far a job is; sent a few times a second at most.
    Progress {
        /// The job.
        task: Task,
        /// Steps done.
        step: u64,
        /// Steps in all.
        total: u64,
        /// Tokens computed by this attempt.
        tokens: u64,
        /// The latest loss, if the job has one.
        loss: Option<f64>,
    },
    /// A complete checkpoint lies in a folder; the worker may upload and then delete it.
    Checkpoint {
        /// The job.
        task: Task,
        /// Steps done.
        step: u64,
        /// The folder.
        path: PathBuf,
    },
    /// The job's result lies in a folder.
    Done {
        /// The job.
        task: Task,
        /// The folder with the artifact's files.
        output: PathBuf,
        /// Figures for status and report.
        metrics: serde_json::Value,
        /// Device time spent by this attempt on this job, in milliseconds.
        device_ms: u64,
    },
    /// The job failed; the runner goes on.
    Failed {
        /// The job.
        task: Task,
        /// What kind of failure.
        code: ErrorCode,
        /// One line with cause and place.
        message: String,
    },
}
