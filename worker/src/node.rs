//! The worker as a whole: what its parts share, how it starts and how it ends.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use proto::id::LaneId;
use proto::pipe::Task;
use proto::v1;
use proto_kit::clock::SystemClock;
use proto_kit::retry::{Backoff, retry};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker_artifacts::{Artifacts, Cache};

use crate::config::{Settings, host};
use crate::fleet::{CallError, Fleet};
use crate::held::Held;
use crate::inputs::Inputs;
use crate::lane::Lane;
use crate::session::{Identity, Session};

/// Folders that are uploaded at once.
const UPLOADS: usize = 4;
/// How long a worker waits for its predecessor to leave the folder.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// What all parts of the worker share.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) fleet: Fleet,
    pub(crate) session: Session,
    pub(crate) held: Arc<Held>,
    pub(crate) artifacts: Artifacts,
    pub(crate) inputs: Inputs,
    /// Limits uploads.
    pub(crate) uploads: Semaphore,
    /// The runner's program.
    pub(crate) runner: PathBuf,
    /// Folder of the attempts' folders.
    tasks: PathBuf,
    /// Spreads this worker's tries apart from others'.
    pub(crate) seed: u64,
    /// Take no more jobs; commit what is finished, give back the rest.
    pub(crate) drain: CancellationToken,
    /// End now.
    pub(crate) stop: CancellationToken,
    /// The parent, and the coordinator with it, has probably died: a call that fails is not repeated.
    pub(crate) orphaned: CancellationToken,
}

impl Node {
    /// The folder of one attempt.
    pub(crate) fn folder_of(&self, task: Task) -> PathBuf {
        self.tasks.join(format!("{}-{}", task.job, task.attempt))
    }
}

/// Joins the coordinator and works until a signal, the parent's death, or an error.
pub(crate) async fn run(settings: Settings, exit_with_parent: bool) -> anyhow::Result<()> {
    let runner = settings.runner()?;
    let devices = settings.devices()?;
    let fleet = Fleet::new(&settings.coordinator)?;
    let in_dir = || format!("the worker's folder {}", settings.dir.display());
    std::fs::create_dir_all(&settings.dir).with_context(in_dir)?;
    let dir = settings.dir.canonicalize().with_context(in_dir)?;
    let _lock = lock(&dir).await?;
    let scratch = dir.join("scratch");
    clear(&scratch)?;

    let incarnation = Uuid::now_v7();
    let seed = incarnation.as_u64_pair().1;
    let lanes = (0..).zip(devices).map(|(id, device)| v1::Lane { id, device: device.clone() }).collect();
    let (name, incarnation) = (settings.name(&dir), incarnation.to_string());
    let identity = Identity { name, incarnation, host: host(), lanes };
    let held = Arc::new(Held::default());
    let session =
        Session::new(fleet.clone(), identity, Arc::clone(&held), Arc::new(SystemClock::default()), seed);

    let orphaned = CancellationToken::new();
    let mut ending = std::pin::pin!(ending(exit_with_parent, orphaned.clone()));
    let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), seed);
    let unreachable = |error: &CallError| matches!(error, CallError::Unreachable { .. });
    let registered = tokio::select! {
        reply = retry(backoff, settings.connect_timeout, unreachable, || session.register()) => reply?,
        ended = &mut ending => return ended,
    };

    let artifacts = Artifacts::open(&registered.store)?;
    let cache = Cache::open(&dir.join("cache"), None, Arc::new(SystemClock::default()))?;
    let node = Arc::new(Node {
        inputs: Inputs::new(artifacts.clone(), cache, scratch.join("inputs")),
        uploads: Semaphore::new(UPLOADS),
        tasks: scratch.join("tasks"),
        drain: CancellationToken::new(),
        stop: CancellationToken::new(),
        fleet,
        session,
        held,
        artifacts,
        runner,
        seed,
        orphaned,
    });
    let mut lanes = JoinSet::new();
    for (id, device) in (0..).zip(devices) {
        lanes.spawn(Lane::new(Arc::clone(&node), LaneId(id), device.clone()).run());
    }
    let keeper = tokio::spawn({
        let node = Arc::clone(&node);
        async move { node.session.keep().await }
    });
    let outcome = tokio::select! {
        ended = &mut ending => ended,
        lane = lanes.join_next() => lane_end(lane),
        reason = keeper => Err(reason.map_or_else(|error| anyhow!(error), |reason| anyhow!(reason))),
    };
    let outcome = outcome.and(shut_down(&node, lanes, settings.shutdown_grace).await);
    clear(&scratch)?;
    outcome
}

/// Lets the lanes commit what is finished and give back the rest; stops them when the grace is over or a signal comes.
async fn shut_down(
    node: &Node,
    mut lanes: JoinSet<anyhow::Result<()>>,
    grace: Duration,
) -> anyhow::Result<()> {
    tracing::info!("shutting down");
    node.drain.cancel();
    let mut outcome = Ok(());
    let drained = async {
        while let Some(lane) = lanes.join_next().await {
            outcome = std::mem::replace(&mut outcome, Ok(())).and(lane_end(Some(lane)));
        }
    };
    tokio::select! {
        () = drained => {}
        () = sleep(grace) => tracing::warn!("the grace is over; the coordinator will find out what was left"),
        signalled = signalled() => signalled?,
    }
    node.stop.cancel();
    while lanes.join_next().await.is_some() {}
    outcome
}

/// Waits for a reason to shut down in good order.
async fn ending(exit_with_parent: bool, orphaned: CancellationToken) -> anyhow::Result<()> {
    let parent = async {
        if !exit_with_parent {
            std::future::pending::<()>().await;
        }
        drop(tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await);
    };
    tokio::select! {
        signalled = signalled() => signalled,
        () = parent => {
            tracing::info!("the parent is gone");
            orphaned.cancel();
            Ok(())
        }
    }
}

/// Waits for SIGTERM or SIGINT.
async fn signalled() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// How a lane's task ended.
fn lane_end(lane: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Result<()> {
    match lane {
        None => Ok(()),
        Some(Ok(ended)) => ended,
        Some(Err(error)) => Err(anyhow!(error).context("a lane broke down")),
    }
}

/// Claims the folder for this process. A predecessor that is on its way out is waited for.
async fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let free = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(50)).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    };
    match timeout(LOCK_PATIENCE, free).await {
        Ok(locked) => locked.with_context(|| format!("cannot lock {}", path.display()))?,
        Err(_) => bail!("another worker uses the folder {}; name another by --dir", dir.display()),
    }
    Ok(file)
}

/// Removes a folder if it is there.
fn clear(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot clear {}", folder.display()))
        }
        _ => Ok(()),
    }
}
