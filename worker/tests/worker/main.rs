//! The real worker with a scripted runner, against a coordinator in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod fleet;
mod jobs;
mod session;
mod world;
