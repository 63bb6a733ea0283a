//! The coordinator's program.

use std::process::ExitCode;

use clap::Parser;
use coordinator::cli::{self, Cli};

/// Plans are made of millions of small texts, which the C library's allocator gives out and takes back at twice the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(Cli::parse()).await
}
