//! The coordinator as a library, so that tests and the embedded `run` can serve in process: services, loops, and what feeds them.

pub mod cli;
pub mod config;
pub mod embedded;
pub mod garbage;
pub mod loops;
pub mod metrics;
pub mod node;
pub mod output;
pub mod plan;
pub mod reign;
pub mod server;
