//! The real worker with scripted runners, against a coordinator in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

mod drain;
mod fleet;
mod hang;
mod jobs;
mod metrics;
mod outage;
mod prefetch;
mod puppet;
mod session;
mod standby;
mod world;
