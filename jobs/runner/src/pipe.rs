//! The runner's end of the pipe to its worker: commands come in on a thread of their own, messages go out whole lines at a time.

use std::io::{BufRead, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use proto::pipe::{FromRunner, ToRunner};

/// Where messages to the worker go.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    stdout: Mutex<()>,
}

impl Pipe {
    /// Writes one message. A worker that no longer reads has died, and so ends the runner.
    pub(crate) fn send(&self, message: &FromRunner) {
        let line = serde_json::to_string(message).map(|text| text + "\n");
        let _whole_lines = self.stdout.lock();
        let mut stdout = std::io::stdout().lock();
        let written = line
            .map_err(std::io::Error::from)
            .and_then(|line| stdout.write_all(line.as_bytes()))
            .and_then(|()| stdout.flush());
        if let Err(error) = written {
            tracing::error!(%error, "cannot write to the worker");
            std::process::exit(1);
        }
    }
}

/// Starts reading commands. The end of standard input ends the process at once, in the middle of whatever it computes: results and
/// checkpoints become visible only by the worker's hand, so nothing half-written can be taken for whole.
pub(crate) fn commands() -> Receiver<ToRunner> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let command = line.map_err(|e| e.to_string()).and_then(|line| {
                serde_json::from_str::<ToRunner>(&line).map_err(|error| format!("{error} in {line}"))
            });
            match command {
                Ok(command) => {
                    if sender.send(command).is_err() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the worker sent a line that is no command");
                    std::process::exit(1);
                }
            }
        }
        std::process::exit(0);
    });
    receiver
}
