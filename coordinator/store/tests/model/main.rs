//! The rules of the job table, searched: every state that a small world can come to, and long random walks through a larger one. After
//! each step all invariants hold, and from each state that is reached every job still ends once faults stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "helpers of tests")]

#[path = "../common/mod.rs"]
mod common;
mod search;
mod walk;
mod world;
