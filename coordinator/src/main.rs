//! The coordinator's program.

use std::process::ExitCode;

use clap::Parser;
use coordinator::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(Cli::parse()).await
}
