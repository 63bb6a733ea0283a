//! The runner: one process per device. `runner pipe` is what a worker starts; the other commands are for people.

mod allocator;
mod cli;
mod error;
mod fan;
mod kinds;
mod lane;
mod memory;
mod models;
mod pipe;
mod verify;

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::keep_memory();
    cli::main()
}
