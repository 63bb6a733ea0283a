//! A runner process: JSON lines in and out, its log forwarded, its end told with its last words.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use proto::pipe::{FromRunner, ToRunner};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Instrument;

/// How long a runner may take to exit once its standard input has ended.
const EXIT: Duration = Duration::from_secs(2);
/// Messages that wait for the lane before the runner has to.
const MESSAGES: usize = 256;

/// A running runner. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Runner {
    child: Child,
    stdin: ChildStdin,
    messages: mpsc::Receiver<FromRunner>,
    log: JoinHandle<()>,
    last_words: Arc<Mutex<String>>,
}

impl Runner {
    /// Starts `program` for a device. It gets a process group of its own: a terminal's Ctrl-C is for the worker.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(crate) fn start(program: &Path, device: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(["pipe", "--device", device])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (stdin, stdout, stderr) = stdin
            .zip(stdout)
            .zip(stderr)
            .map(|((stdin, stdout), stderr)| (stdin, stdout, stderr))
            .context("the runner has no pipes")?;
        let (sender, messages) = mpsc::channel(MESSAGES);
        let span = tracing::info_span!("runner", device);
        let last_words = Arc::default();
        tokio::spawn(read(stdout, sender).instrument(span.clone()));
        let log = tokio::spawn(forward(stderr, Arc::clone(&last_words)).instrument(span));
        Ok(Self { child, stdin, messages, log, last_words })
    }

    /// The next message; none when the runner has ended or talks nonsense.
    pub(crate) async fn next(&mut self) -> Option<FromRunner> {
        self.messages.recv().await
    }

    /// Sends a command. A runner that no longer reads has died, which shows at its other end.
    pub(crate) async fn send(&mut self, command: &ToRunner) {
        let written = async {
            let line = serde_json::to_string(command)? + "\n";
            self.stdin.write_all(line.as_bytes()).await?;
            self.stdin.flush().await
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "the runner does not read");
        }
    }

    /// Ends the runner and tells how it ended and what it last said.
    pub(crate) async fn end(self) -> String {
        let Self { mut child, stdin, messages, log, last_words } = self;
        drop(stdin);
        drop(messages);
        let status = match timeout(EXIT, child.wait()).await {
            Ok(status) => status,
            Err(_) => match child.kill().await {
                Ok(()) => child.wait().await,
                Err(error) => Err(error),
            },
        };
        // The log ends with the process; its last line is the best explanation there is.
        drop(timeout(EXIT, log).await);
        let how = status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
        let last = last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if last.is_empty() { how } else { format!("{how}; its last words: {last}") }
    }
}

async fn read(stdout: ChildStdout, messages: mpsc::Sender<FromRunner>) {
    let mut lines = BufReader::new(stdout).lines();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) => match serde_json::from_str(&line) {
                Ok(message) => {
                    if messages.send(message).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, line, "the runner wrote a line that is no message");
                    return;
                }
            },
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the runner cannot be read");
                return;
            }
        }
    }
}

async fn forward(stderr: ChildStderr, last_words: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !line.is_empty() {
            tracing::info!("{line}");
            *last_words.lock().unwrap_or_else(PoisonError::into_inner) = line;
        }
    }
}
