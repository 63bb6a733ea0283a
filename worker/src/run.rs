//! The worker as a whole: what it is made of, how it starts and how it ends.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proto::id::LaneId;
use proto::v1;
use proto_kit::clock::{Clock, SystemClock};
use proto_kit::host;
use proto_kit::retry::{Backoff, retry};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker_artifacts::{Artifacts, Cache};

use crate::config::Settings;
use crate::disk::{Disk, FreeSpace, free_space};
use crate::drain::Drain;
use crate::error::Error;
use crate::fleet::{CallError, Fleet};
use crate::folder;
use crate::held::Held;
use crate::inputs::Inputs;
use crate::lane::Lane;
use crate::launch::Launch;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::monitor;
use crate::node::{Node, UPLOADS};
use crate::process::Program;
use crate::session::{Identity, Session};

/// How long a drain may take when the parent is gone: nobody waits at a terminal for more.
const PARENT_GRACE: Duration = Duration::from_secs(4);
/// How long the calls that give back what is left may take.
const LAST_CALLS: Duration = Duration::from_secs(3);

/// Opens the store whose address the coordinator names.
pub type OpenStore = Arc<dyn Fn(&str) -> worker_artifacts::Result<Artifacts> + Send + Sync>;

/// Tells a worker to leave. Clones tell the same worker.
#[derive(Clone, Debug, Default)]
pub struct Exit {
    drain: CancellationToken,
    orphan: CancellationToken,
    now: CancellationToken,
}

impl Exit {
    /// Drain, then leave.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// The parent, and the coordinator with it, has probably died: drain, but repeat no call that fails, then leave.
    pub fn orphan(&self) {
        self.orphan.cancel();
        self.drain.cancel();
    }

    /// Leave at once; the coordinator finds out what was left.
    pub fn now(&self) {
        self.now.cancel();
    }
}

/// A worker and everything outside it that it uses.
#[derive(Clone)]
pub struct Worker {
    /// What it was told.
    pub settings: Settings,
    /// The coordinator.
    pub fleet: Fleet,
    /// Starts runners.
    pub launch: Arc<dyn Launch>,
    /// Opens the object store.
    pub store: OpenStore,
    /// The time, by which leases are trusted.
    pub clock: Arc<dyn Clock>,
    /// Unique per start.
    pub incarnation: String,
    /// Spreads this worker's tries apart from others'.
    pub seed: u64,
    /// The machine.
    pub host: String,
    /// Tells the free space of a disk.
    pub free_space: FreeSpace,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker that runs on this machine: processes, network, system clock, an identity of its own.
    /// Called within a runtime.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let incarnation = Uuid::now_v7();
        Ok(Self {
            fleet: Fleet::connect(&settings.coordinator)?,
            launch: Arc::new(Program(settings.runner()?)),
            store: Arc::new(Artifacts::open),
            clock: Arc::new(SystemClock::default()),
            incarnation: incarnation.to_string(),
            seed: incarnation.as_u64_pair().1,
            host: host::name(),
            free_space: Arc::new(free_space),
            metrics: Arc::default(),
            settings,
        })
    }

    /// Joins the coordinator and works until told to leave.
    ///
    /// # Errors
    /// When it cannot begin or go on, or had to leave something behind.
    pub async fn run(self, exit: Exit) -> Result<(), Error> {
        let began = Instant::now();
        let claimed = folder::claim(&self.settings.dir).await?;
        let scratch = claimed.path.join("scratch");
        folder::clear(&scratch).await?;
        // Ends with this function.
        let mut monitors = JoinSet::new();
        if let Some(address) = self.settings.metrics {
            monitors.spawn(monitor::serve(&self.metrics, address).await?);
        }
        let joined = tokio::select! {
            biased;
            () = exit.now.cancelled() => return Ok(()),
            () = exit.drain.cancelled() => return Ok(()),
            joined = self.join(&claimed.path, &scratch, &exit) => joined?,
        };
        let worked = self.work(&Arc::new(joined), began, &exit).await;
        folder::clear(&scratch).await?;
        worked
    }

    /// Registers, and puts the shared parts together.
    async fn join(&self, dir: &Path, scratch: &Path, exit: &Exit) -> Result<Node, Error> {
        let Self { settings, fleet, clock, seed, .. } = self;
        let lanes = (0..).zip(&settings.device);
        let identity = Identity {
            name: settings.name(&self.host, dir),
            incarnation: self.incarnation.clone(),
            host: self.host.clone(),
            lanes: lanes.map(|(id, device)| v1::Lane { id, device: device.clone() }).collect(),
        };
        let held = Arc::new(Held::new(Arc::clone(&self.metrics)));
        let drain = Arc::new(Drain::default());
        let session = Session::new(
            fleet.clone(),
            identity,
            Arc::clone(&held),
            Arc::clone(&drain),
            Arc::clone(clock),
            Arc::clone(&self.metrics),
            *seed,
        );
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), *seed);
        let unreachable = |error: &CallError| matches!(error, CallError::Unreachable(_));
        let registered = retry(backoff, settings.connect_timeout, unreachable, || session.register()).await?;
        let artifacts = (self.store)(&registered.store)?;
        let cache =
            Cache::open(&dir.join("cache"), settings.cache_limit.map(|limit| limit.0), Arc::clone(clock))?;
        let cache = cache.counted(self.metrics.cache.clone());
        Ok(Node {
            logs: Logs::new(artifacts.clone()),
            inputs: Inputs::new(artifacts.clone(), cache, scratch.join("inputs")),
            uploads: Semaphore::new(UPLOADS),
            tasks: scratch.join("tasks"),
            disk: Disk::new(dir.to_owned(), settings.min_free_disk, Arc::clone(&self.free_space)),
            metrics: Arc::clone(&self.metrics),
            stop_timeout: settings.stop_timeout,
            drain,
            stop: CancellationToken::new(),
            orphaned: exit.orphan.clone(),
            launch: Arc::clone(&self.launch),
            fleet: fleet.clone(),
            session,
            held,
            artifacts,
            seed: *seed,
        })
    }

    /// Runs the lanes until something ends the worker, then drains and leaves.
    async fn work(&self, node: &Arc<Node>, began: Instant, exit: &Exit) -> Result<(), Error> {
        let Settings { drain_grace, time_limit, orphan_grace, .. } = self.settings;
        let mut lanes = JoinSet::new();
        for (id, device) in (0..).zip(&self.settings.device) {
            lanes.spawn(Lane::new(Arc::clone(node), LaneId(id), device.clone()).run());
        }
        let mut keeper = JoinSet::new();
        keeper.spawn({
            let node = Arc::clone(node);
            async move { node.session.keep(orphan_grace).await }
        });
        keeper.spawn({
            let node = Arc::clone(node);
            async move { node.logs.keep().await }
        });
        let time_is_up = async {
            match time_limit {
                Some(limit) => sleep_until(began + limit.saturating_sub(drain_grace)).await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            biased;
            () = exit.now.cancelled() => Ok(()),
            () = exit.drain.cancelled() => Ok(()),
            lane = lanes.join_next() => lane_end(lane),
            Some(reason) = keeper.join_next() => Err(reason?),
            () = time_is_up => {
                tracing::info!("the time limit is near");
                Ok(())
            }
        };
        let parent_is_gone = exit.orphan.is_cancelled();
        let grace = if parent_is_gone { drain_grace.min(PARENT_GRACE) } else { drain_grace };
        match &outcome {
            // Nobody would hear of what a drain saves.
            Err(Error::Coordinator(_)) => exit.now(),
            // Checkpoints still go to the store, and the coordinator is tried once more.
            Err(Error::Orphaned { .. }) => exit.orphan(),
            _ => {}
        }
        let outcome = outcome.and(leave(node, lanes, grace, exit).await);
        let gap = node.metrics.idle_gap();
        let millis = |gap: Duration| gap.as_millis() as u64;
        tracing::info!(
            committed = node.metrics.jobs_committed.get(),
            failed = node.metrics.jobs_failed.get(),
            released = node.metrics.jobs_released.get(),
            refills = gap.count,
            idle_gap_p50_ms = millis(gap.p50),
            idle_gap_p99_ms = millis(gap.p99),
            idle_gap_max_ms = millis(gap.max),
            "the worker leaves"
        );
        outcome
    }
}

/// Drains the lanes; stops them when the grace is over or nobody wants to wait.
async fn leave(
    node: &Node,
    mut lanes: JoinSet<Result<(), Error>>,
    grace: Duration,
    exit: &Exit,
) -> Result<(), Error> {
    tracing::info!(grace = %humantime::format_duration(grace), "draining before leaving");
    node.drain.leave(grace);
    let mut outcome = Ok(());
    let drained = async {
        while let Some(lane) = lanes.join_next().await {
            outcome = std::mem::replace(&mut outcome, Ok(())).and(lane_end(Some(lane)));
        }
    };
    tokio::select! {
        biased;
        () = exit.now.cancelled() => {}
        () = drained => {}
        () = sleep(grace + LAST_CALLS) => {}
    }
    node.stop.cancel();
    while lanes.join_next().await.is_some() {}
    match node.held.tasks().len() {
        0 => outcome,
        left => outcome.and(Err(Error::Left(left))),
    }
}

/// How a lane's task ended.
fn lane_end(lane: Option<Result<Result<(), Error>, JoinError>>) -> Result<(), Error> {
    match lane {
        None => Ok(()),
        Some(ended) => ended?,
    }
}
