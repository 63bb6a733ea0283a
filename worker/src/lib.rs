//! The worker: one process per node. It keeps a session with the coordinator, brings inputs to the node, drives one runner process per
//! device, and uploads and commits what the runners write. It knows no tensors.
//!
//! Everything outside it is handed in as a part of a [`Worker`]: the connection, the runners, the object store, the clock, the seed. So
//! a simulation runs this very code without a process, a socket or a clock of the machine.

mod config;
mod disk;
mod drain;
mod error;
mod fleet;
mod folder;
mod gaps;
mod held;
mod inputs;
mod lane;
mod launch;
mod logs;
mod metrics;
mod monitor;
mod node;
mod offer;
mod outbox;
mod process;
mod route;
mod run;
mod session;
mod size;

pub use config::Settings;
pub use disk::FreeSpace;
pub use error::Error;
pub use fleet::{CallError, Fleet};
pub use gaps::IdleGap;
pub use launch::{Launch, Listener, Runner};
pub use metrics::Metrics;
pub use process::Program;
pub use run::{Exit, OpenStore, Worker};
pub use size::Size;
