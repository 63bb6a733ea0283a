//! What services and loops share: the table, the time, the newest progress, and the bells that wake those who wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coordinator_core::policy::Policy;
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use coordinator_store::model::Stamp;
use coordinator_store::{Store, StoreError};
use proto::id::Term;
use proto::pipe::Task;
use proto_kit::clock::Clock;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use worker_artifacts::Artifacts;

use super::batch::{Batches, Workers};
use super::planner::Planner;
use super::refuse;
use crate::garbage::Turns;
use crate::metrics::Metrics;

/// How a coordinator serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Deadlines and budgets; the store decides by its own copy.
    pub policy: Policy,
    /// Where artifacts live, as workers are told: a URL.
    pub store_url: String,
    /// How often progress is written down.
    pub progress_flush: Duration,
    /// How often the loops look for expired leases and ended waits.
    pub tick: Duration,
}

impl Settings {
    /// The defaults over an object store.
    pub fn new(store_url: impl Into<String>) -> Self {
        Self {
            policy: Policy::default(),
            store_url: store_url.into(),
            progress_flush: Duration::from_secs(3),
            tick: Duration::from_millis(500),
        }
    }
}

/// See the module.
pub(crate) struct Context {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) planner: Arc<dyn Planner>,
    pub(crate) artifacts: Artifacts,
    pub(crate) turns: Arc<Turns>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) serving_since: Micros,
    pub(crate) shutdown: CancellationToken,
    pub(crate) batches: Batches,
    clock: Arc<dyn Clock>,
    started: Duration,
    progress: Mutex<BTreeMap<Task, Progress>>,
    ready: Notify,
    changes: watch::Sender<u64>,
}

impl Context {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        planner: Arc<dyn Planner>,
        artifacts: Artifacts,
        clock: Arc<dyn Clock>,
        settings: Settings,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> (Self, Workers) {
        let (batches, workers) = Batches::new();
        let context = Self {
            batches,
            store,
            planner,
            artifacts,
            turns: Arc::default(),
            settings,
            metrics,
            serving_since: Micros(clock.now_micros()),
            shutdown,
            started: clock.monotonic(),
            clock,
            progress: Mutex::default(),
            ready: Notify::new(),
            changes: watch::Sender::new(0),
        };
        (context, workers)
    }

    /// The time of day when serving began plus what has passed since: leases must not run out because somebody set the clock.
    pub(crate) fn now(&self) -> Micros {
        self.serving_since.after(self.clock.monotonic().saturating_sub(self.started))
    }

    /// A write of this coordinator's own.
    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp_of(self.store.term())
    }

    /// A write in the term that a caller believes in.
    pub(crate) fn stamp_of(&self, term: Term) -> Stamp {
        Stamp { term, now: self.now() }
    }

    /// Refuses a caller that believes in another term. Calls that share a transaction name none of their own.
    pub(crate) fn require_term(&self, given: Term) -> Result<(), Status> {
        let current = self.store.term();
        if given == current {
            Ok(())
        } else {
            Err(refuse::by_store(StoreError::StaleTerm { given, current }))
        }
    }

    /// Tells watchers that the table changed, and waiting lanes that jobs may have become ready.
    pub(crate) fn jobs_moved(&self) {
        self.ready.notify_waiters();
        self.changed();
    }

    /// Tells watchers that the table changed.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// The bell of [`Context::jobs_moved`].
    pub(crate) fn ready(&self) -> &Notify {
        &self.ready
    }

    /// The bell of [`Context::changed`]; coalesces.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Keeps an attempt's progress until it is written down.
    pub(crate) fn note_progress(&self, task: Task, progress: Progress) {
        self.lock_progress().insert(task, progress);
    }

    /// Progress that has not been written down yet.
    pub(crate) fn unwritten_progress(&self) -> BTreeMap<Task, Progress> {
        self.lock_progress().clone()
    }

    /// Forgets progress that has been written down, unless it went on meanwhile.
    pub(crate) fn progress_written(&self, written: &[(Task, Progress)]) {
        let mut progress = self.lock_progress();
        for (task, value) in written {
            if progress.get(task) == Some(value) {
                progress.remove(task);
            }
        }
    }

    fn lock_progress(&self) -> std::sync::MutexGuard<'_, BTreeMap<Task, Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
