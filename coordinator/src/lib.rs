//! The coordinator as a library, so that tests and the embedded `run` can serve in process: services, loops, and what feeds them.

pub mod loops;
pub mod server;
