//! The worker as a whole: what it is made of, how it starts and how it ends.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proto::id::LaneId;
use proto::v1;
use proto_kit::clock::{Clock, SystemClock};
use proto_kit::retry::{Backoff, retry};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker_artifacts::{Artifacts, Cache};

use crate::config::{Settings, host};
use crate::error::Error;
use crate::fleet::{CallError, Fleet};
use crate::folder;
use crate::held::Held;
use crate::inputs::Inputs;
use crate::lane::Lane;
use crate::launch::Launch;
use crate::node::{Node, UPLOADS};
use crate::process::Program;
use crate::session::{Identity, Session};

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
            host: host(),
            settings,
        })
    }

    /// Joins the coordinator and works until told to leave.
    ///
    /// # Errors
    /// When it cannot begin or go on, or had to leave something behind.
    pub async fn run(self, exit: Exit) -> Result<(), Error> {
        let claimed = folder::claim(&self.settings.dir).await?;
        let scratch = claimed.path.join("scratch");
        folder::clear(&scratch).await?;
        let joined = tokio::select! {
            biased;
            () = exit.drain.cancelled() => return Ok(()),
            joined = self.join(&claimed.path, &scratch, &exit) => joined?,
        };
        let worked = self.work(&Arc::new(joined), &exit).await;
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
        let held = Arc::new(Held::default());
        let session = Session::new(fleet.clone(), identity, Arc::clone(&held), Arc::clone(clock), *seed);
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), *seed);
        let unreachable = |error: &CallError| matches!(error, CallError::Unreachable { .. });
        let registered = retry(backoff, settings.connect_timeout, unreachable, || session.register()).await?;
        let artifacts = (self.store)(&registered.store)?;
        let cache = Cache::open(&dir.join("cache"))?;
        Ok(Node {
            inputs: Inputs::new(artifacts.clone(), cache, scratch.join("inputs")),
            uploads: Semaphore::new(UPLOADS),
            tasks: scratch.join("tasks"),
            drain: CancellationToken::new(),
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

    /// Runs the lanes until something ends the worker, then shuts down.
    async fn work(&self, node: &Arc<Node>, exit: &Exit) -> Result<(), Error> {
        let mut lanes = JoinSet::new();
        for (id, device) in (0..).zip(&self.settings.device) {
            lanes.spawn(Lane::new(Arc::clone(node), LaneId(id), device.clone()).run());
        }
        let mut keeper = JoinSet::new();
        keeper.spawn({
            let node = Arc::clone(node);
            async move { node.session.keep().await }
        });
        let outcome = tokio::select! {
            biased;
            () = exit.drain.cancelled() => Ok(()),
            lane = lanes.join_next() => lane_end(lane),
            Some(reason) = keeper.join_next() => Err(reason?.into()),
        };
        outcome.and(shut_down(node, lanes, self.settings.shutdown_grace, exit).await)
    }
}

/// Lets the lanes commit what is finished and give back the rest; stops them when the grace is over or nobody wants to wait.
async fn shut_down(
    node: &Node,
    mut lanes: JoinSet<Result<(), Error>>,
    grace: Duration,
    exit: &Exit,
) -> Result<(), Error> {
    tracing::info!("shutting down");
    node.drain.cancel();
    let mut outcome = Ok(());
    let drained = async {
        while let Some(lane) = lanes.join_next().await {
            outcome = std::mem::replace(&mut outcome, Ok(())).and(lane_end(Some(lane)));
        }
    };
    tokio::select! {
        biased;
        () = drained => {}
        () = sleep(grace) => tracing::warn!("the grace is over; the coordinator will find out what was left"),
        () = exit.now.cancelled() => {}
    }
    node.stop.cancel();
    while lanes.join_next().await.is_some() {}
    outcome
}

/// How a lane's task ended.
fn lane_end(lane: Option<Result<Result<(), Error>, JoinError>>) -> Result<(), Error> {
    match lane {
        None => Ok(()),
        Some(ended) => ended?,
    }
}
