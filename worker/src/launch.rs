//! Runners as lanes see them. Production starts processes; a simulation plays their part.

use std::fmt::Debug;
use std::io;

use async_trait::async_trait;
use proto::pipe::{FromRunner, ToRunner};

/// Takes the lines that a runner says to people.
pub type Listener = Box<dyn Fn(&str) + Send + Sync>;

/// Starts runners.
pub trait Launch: Debug + Send + Sync {
    /// Starts a runner for a device. What it says to people goes to `listener`, line by line.
    ///
    /// # Errors
    /// When it cannot be started at all; the error says which program and why.
    fn launch(&self, device: &str, listener: Listener) -> io::Result<Box<dyn Runner>>;
}

/// A running runner. Dropping it kills it.
#[async_trait]
pub trait Runner: Send {
    /// The next message; none when the runner has ended or talks nonsense. Nothing is lost when the future is dropped.
    async fn next(&mut self) -> Option<FromRunner>;

    /// Sends a command, without waiting. A runner that no longer reads has died or hangs, which shows elsewhere.
    fn send(&mut self, command: ToRunner);

    /// Ends the runner, by force if need be, and tells how it ended and what it last said.
    async fn end(self: Box<Self>) -> String;
}
