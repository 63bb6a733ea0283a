//! The attempts that this worker holds, from their offer to their end. Heartbeats list them; whoever works on one watches its token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use proto::id::{Attempt, JobId};
use proto::pipe::Task;
use proto::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// All held attempts.
#[derive(Debug)]
pub(crate) struct Held {
    attempts: Mutex<BTreeMap<Task, Entry>>,
    dropped: watch::Sender<()>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Entry {
    running: bool,
    progress: Option<v1::Progress>,
    dropped: CancellationToken,
}

impl Held {
    /// Nothing is held yet. The gauges of `metrics` follow.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { attempts: Mutex::default(), dropped: watch::channel(()).0, metrics }
    }

    /// Takes an attempt in. Its token is cancelled when the coordinator drops it.
    pub(crate) fn insert(&self, task: Task) -> CancellationToken {
        let dropped = CancellationToken::new();
        let entry = Entry { running: false, progress: None, dropped: dropped.clone() };
        self.with(|attempts| attempts.insert(task, entry));
        dropped
    }

    /// Notes that a runner computes an attempt.
    pub(crate) fn started(&self, task: Task) {
        self.with(|attempts| {
            if let Some(entry) = attempts.get_mut(&task) {
                entry.running = true;
            }
        });
    }

    /// Notes how far an attempt is.
    pub(crate) fn progressed(&self, task: Task, progress: v1::Progress) {
        self.with(|attempts| {
            if let Some(entry) = attempts.get_mut(&task) {
                entry.progress = Some(progress);
            }
        });
    }

    /// Forgets an attempt that has ended.
    pub(crate) fn remove(&self, task: Task) {
        self.with(|attempts| attempts.remove(&task));
    }

    /// Ends an attempt that the coordinator no longer wants.
    pub(crate) fn drop_task(&self, task: Task) {
        if let Some(entry) = self.with(|attempts| attempts.remove(&task)) {
            self.metrics.jobs_dropped.inc();
            tracing::info!(job = %task.job, attempt = %task.attempt, "the coordinator dropped an attempt");
            entry.dropped.cancel();
            self.dropped.send_replace(());
        }
    }

    /// Changes whenever an attempt is dropped.
    pub(crate) fn drops(&self) -> watch::Receiver<()> {
        self.dropped.subscribe()
    }

    /// What a registration says.
    pub(crate) fn tasks(&self) -> Vec<v1::Task> {
        self.with(|attempts| attempts.keys().map(|task| message(*task)).collect())
    }

    /// What a heartbeat says.
    pub(crate) fn report(&self) -> Vec<v1::Held> {
        let held = |(task, entry): (&Task, &Entry)| v1::Held {
            task: Some(message(*task)),
            running: entry.running,
            progress: entry.progress,
        };
        self.with(|attempts| attempts.iter().map(held).collect())
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<Task, Entry>) -> T) -> T {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let value = work(&mut attempts);
        self.metrics.jobs_held.set(attempts.len() as i64);
        self.metrics.jobs_running.set(attempts.values().filter(|entry| entry.running).count() as i64);
        value
    }
}

/// A task as a message.
pub(crate) fn message(task: Task) -> v1::Task {
    v1::Task { job: task.job.0, attempt: task.attempt.0 }
}

/// A task from a message.
pub(crate) fn task(message: v1::Task) -> Task {
    Task { job: JobId(message.job), attempt: Attempt(message.attempt) }
}
