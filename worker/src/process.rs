//! Runners as processes: JSON lines in and out, the log forwarded, the end told with the last words.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proto::pipe::{FromRunner, ToRunner};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Instrument;

use crate::launch::{Launch, Listener, Runner};

/// How long a runner may take to exit once its standard input has ended, and again once it is killed: one that hangs in its driver
/// cannot be waited for.
const EXIT: Duration = Duration::from_secs(2);
/// Messages that wait for the lane before the runner has to.
const MESSAGES: usize = 256;
/// Commands that wait for the runner. One that leaves so many unread hangs.
const COMMANDS: usize = 1024;

/// The runner's program.
#[derive(Clone, Debug)]
pub struct Program(pub PathBuf);

impl Launch for Program {
    /// Starts the program for a device. It gets a process group of its own: a terminal's Ctrl-C is for the worker.
    fn launch(&self, device: &str, listener: Listener) -> io::Result<Box<dyn Runner>> {
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", self.0.display()))
        };
        let mut child = Command::new(&self.0)
            .args(["pipe", "--device", device])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
        let ((stdin, stdout), stderr) =
            pipes.ok_or_else(|| failed(io::Error::other("the runner has no pipes")))?;
        let (to_lane, messages) = mpsc::channel(MESSAGES);
        let (commands, from_lane) = mpsc::channel(COMMANDS);
        let span = tracing::info_span!("runner", device);
        let last_words = Arc::default();
        tokio::spawn(read(stdout, to_lane).instrument(span.clone()));
        let writer = tokio::spawn(write(stdin, from_lane).instrument(span.clone()));
        let log = tokio::spawn(forward(stderr, Arc::clone(&last_words), listener).instrument(span));
        Ok(Box::new(Process { child, commands, writer, messages, log, last_words }))
    }
}

/// A runner process.
#[derive(Debug)]
struct Process {
    child: Child,
    commands: mpsc::Sender<ToRunner>,
    writer: JoinHandle<()>,
    messages: mpsc::Receiver<FromRunner>,
    log: JoinHandle<()>,
    last_words: Arc<Mutex<String>>,
}

#[async_trait]
impl Runner for Process {
    async fn next(&mut self) -> Option<FromRunner> {
        self.messages.recv().await
    }

    fn send(&mut self, command: ToRunner) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::debug!(%error, "the runner does not read");
        }
    }

    async fn end(self: Box<Self>) -> String {
        let Self { mut child, commands, mut writer, messages, log, last_words } = *self;
        drop(commands);
        drop(messages);
        let exit = async {
            // What was sent is written before the end of standard input tells the runner to exit.
            drop((&mut writer).await);
            child.wait().await
        };
        let ended = match timeout(EXIT, exit).await {
            Ok(status) => Some(status),
            Err(_) => {
                writer.abort();
                match child.start_kill() {
                    Ok(()) => timeout(EXIT, child.wait()).await.ok(),
                    Err(error) => Some(Err(error)),
                }
            }
        };
        // The log ends with the process; its last line is the best explanation there is.
        drop(timeout(EXIT, log).await);
        let how = match ended {
            Some(Ok(status)) => ExitStatus::to_string(&status),
            Some(Err(error)) => error.to_string(),
            None => "it cannot be killed".to_owned(),
        };
        let last = last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if last.is_empty() { how } else { format!("{how}; its last words: {last}") }
    }
}

async fn write(mut stdin: ChildStdin, mut commands: mpsc::Receiver<ToRunner>) {
    while let Some(command) = commands.recv().await {
        let written = async {
            let line = serde_json::to_string(&command)? + "\n";
            stdin.write_all(line.as_bytes()).await?;
            stdin.flush().await
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "the runner does not read");
            return;
        }
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

async fn forward(stderr: ChildStderr, last_words: Arc<Mutex<String>>, listener: Listener) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !line.is_empty() {
            tracing::info!("{line}");
            listener(&line);
            *last_words.lock().unwrap_or_else(PoisonError::into_inner) = line;
        }
    }
}
