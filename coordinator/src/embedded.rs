//! A coordinator and one worker on this machine, for as long as one command takes.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::node::{Node, NodeError, Reach};

/// How long a worker may take to hand its jobs back before it is killed.
const WORKER_GRACE: Duration = Duration::from_secs(20);

/// Why coordinator or worker cannot run: one line.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The coordinator.
    #[error(transparent)]
    Node(Box<NodeError>),
    /// The worker's program cannot be started.
    #[error("cannot start {}: {cause}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// The worker's log cannot be written.
    #[error("cannot write {}: {cause}", log.display())]
    Log {
        /// The file.
        log: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// The worker ended by itself.
    #[error("the worker ended ({status}); {}", last_words(log))]
    WorkerEnded {
        /// How.
        status: ExitStatus,
        /// Where it wrote what it had to say.
        log: PathBuf,
    },
}

impl From<NodeError> for EmbeddedError {
    fn from(error: NodeError) -> Self {
        Self::Node(Box::new(error))
    }
}

/// The end of a log, or where to find it.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!("its log {} ends with: {}", log.display(), line.trim()),
        None => format!("its log {} is empty", log.display()),
    }
}

/// A served table, and the worker once it is started.
pub struct Embedded {
    address: SocketAddr,
    dir: PathBuf,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), NodeError>>,
    worker: Option<Worker>,
}

struct Worker {
    process: Child,
    /// Open as long as the worker shall run.
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Embedded {
    /// Serves on a free port of the loopback.
    ///
    /// # Errors
    /// When the folder is in use by another process or cannot be written.
    pub async fn serve(settings: &Settings) -> Result<Self, EmbeddedError> {
        let node = Node::open(settings, Reach::Own).await?;
        let address = node.address();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(node.serve(shutdown.clone()));
        Ok(Self { address, dir: settings.dir.clone(), shutdown, server, worker: None })
    }

    /// The coordinator's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts the worker that lies beside this program, over `devices`. Its log is `worker.log` in the folder. It is in a process
    /// group of its own, so that a terminal's Ctrl-C reaches it through [`Self::stop`] alone, and ends with this process in any case.
    ///
    /// # Errors
    /// When there is no such program, or its log cannot be written.
    pub fn start_worker(&mut self, devices: &[String]) -> Result<(), EmbeddedError> {
        let log = self.dir.join("worker.log");
        let logged = |cause| EmbeddedError::Log { log: log.clone(), cause };
        let file = File::create(&log).map_err(logged)?;
        let own = std::env::current_exe().unwrap_or_default();
        let program = own.with_file_name(format!("worker{}", std::env::consts::EXE_SUFFIX));
        let mut command = Command::new(&program);
        command.args(["run", "--exit-with-parent", "--coordinator", &self.url()]).arg("--dir");
        command.arg(self.dir.join("worker"));
        for device in devices {
            command.args(["--device", device]);
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|cause| EmbeddedError::Start { program, cause })?;
        let stdin = process.stdin.take();
        self.worker = Some(Worker { process, stdin, log });
        Ok(())
    }

    /// Waits until the worker ends by itself; forever where none was started.
    pub async fn worker_ended(&mut self) -> EmbeddedError {
        match &mut self.worker {
            None => std::future::pending().await,
            Some(worker) => match worker.process.wait().await {
                Ok(status) => EmbeddedError::WorkerEnded { status, log: worker.log.clone() },
                Err(cause) => EmbeddedError::Log { log: worker.log.clone(), cause },
            },
        }
    }

    /// Stops the worker, which hands its jobs back, then the coordinator.
    ///
    /// # Errors
    /// When the server had broken down.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        if let Some(worker) = &mut self.worker {
            drop(worker.stdin.take());
            if timeout(WORKER_GRACE, worker.process.wait()).await.is_err() {
                tracing::warn!("the worker does not stop and is killed");
                let _ = worker.process.kill().await;
            }
        }
        self.shutdown.cancel();
        match self.server.await {
            Ok(served) => Ok(served?),
            Err(_) => Ok(()),
        }
    }
}
