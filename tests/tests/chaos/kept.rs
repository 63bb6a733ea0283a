//! Processes that are started again whenever they end, as a supervisor does.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How long a supervisor waits before it starts a process again.
const PAUSE: Duration = Duration::from_millis(100);

/// A process that is kept running.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    /// 0 while there is none.
    pid: AtomicU32,
    starts: AtomicU32,
    /// Not to be started again.
    over: AtomicBool,
    supervisor: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Kept {
    /// Starts a process, and again when it ends; its output goes to `log`.
    pub(crate) fn start(
        name: impl Into<String>,
        log: PathBuf,
        command: impl Fn() -> Command + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            name: name.into(),
            pid: AtomicU32::new(0),
            starts: AtomicU32::new(0),
            over: AtomicBool::new(false),
            supervisor: std::sync::Mutex::new(None),
        });
        let kept = Self { shared: Arc::clone(&shared) };
        let supervisor = tokio::spawn(async move {
            while !shared.over.load(Ordering::Acquire) {
                let log = File::options().create(true).append(true).open(&log).unwrap();
                let mut command = command();
                command.stdin(std::process::Stdio::null()).kill_on_drop(true);
                let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
                shared.pid.store(child.id().unwrap_or(0), Ordering::Release);
                shared.starts.fetch_add(1, Ordering::Relaxed);
                let status = child.wait().await.unwrap();
                shared.pid.store(0, Ordering::Release);
                tracing::debug!(name = shared.name, %status, "ended");
                sleep(PAUSE).await;
            }
        });
        *kept.shared.supervisor.lock().unwrap() = Some(supervisor);
        kept
    }

    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) fn starts(&self) -> u32 {
        self.shared.starts.load(Ordering::Relaxed)
    }

    /// The process, if it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.shared.pid.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }

    /// Kills it. False where it does not run.
    pub(crate) async fn kill(&self) -> bool {
        match self.pid() {
            Some(pid) => signal("KILL", pid).await,
            None => false,
        }
    }

    /// Ends it for good: politely, and after a while not.
    pub(crate) async fn stop(&self, politely: &str) {
        self.shared.over.store(true, Ordering::Release);
        if let Some(pid) = self.pid() {
            signal(politely, pid).await;
        }
        let supervisor = self.shared.supervisor.lock().unwrap().take();
        if let Some(mut supervisor) = supervisor
            && tokio::time::timeout(Duration::from_secs(30), &mut supervisor).await.is_err()
        {
            supervisor.abort();
        }
    }
}

/// Sends a signal. False where there is no such process.
pub(crate) async fn signal(name: &str, pid: u32) -> bool {
    let kill = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .stderr(std::process::Stdio::null())
        .status();
    kill.await.is_ok_and(|status| status.success())
}

/// Holds a process still for a while.
pub(crate) async fn freeze(pid: u32, time: Duration) -> bool {
    if !signal("STOP", pid).await {
        return false;
    }
    sleep(time).await;
    signal("CONT", pid).await;
    true
}

/// The processes that a process has started.
pub(crate) fn children(of: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}
