//! What all parts of a worker share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proto::pipe::Task;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use worker_artifacts::Artifacts;

use crate::disk::Disk;
use crate::drain::Drain;
use crate::fleet::Fleet;
use crate::held::Held;
use crate::inputs::Inputs;
use crate::launch::Launch;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::session::Session;

/// Folders that are uploaded at once.
pub(crate) const UPLOADS: usize = 4;

/// The shared parts.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) fleet: Fleet,
    pub(crate) session: Session,
    pub(crate) held: Arc<Held>,
    pub(crate) artifacts: Artifacts,
    pub(crate) inputs: Inputs,
    pub(crate) logs: Logs,
    /// Limits uploads.
    pub(crate) uploads: Semaphore,
    pub(crate) launch: Arc<dyn Launch>,
    /// Folder of the attempts' folders.
    pub(crate) tasks: PathBuf,
    /// Spreads this worker's tries apart from others'.
    pub(crate) seed: u64,
    pub(crate) drain: Arc<Drain>,
    pub(crate) disk: Disk,
    pub(crate) metrics: Arc<Metrics>,
    /// How long a runner may take to obey a stop.
    pub(crate) stop_timeout: Duration,
    /// End now.
    pub(crate) stop: CancellationToken,
    /// The coordinator is probably gone for good: a call that fails is not repeated.
    pub(crate) orphaned: CancellationToken,
}

impl Node {
    /// The folder of one attempt.
    pub(crate) fn folder_of(&self, task: Task) -> PathBuf {
        self.tasks.join(format!("{}-{}", task.job, task.attempt))
    }
}
