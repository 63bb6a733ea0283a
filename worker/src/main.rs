//! The worker: one process per node. It keeps a session with the coordinator, brings inputs to the node, drives one runner process per
//! device, and uploads and commits what the runners write. It knows no tensors.

mod cli;
mod config;
mod fleet;
mod held;
mod inputs;
mod lane;
mod node;
mod offer;
mod outbox;
mod process;
mod session;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
