//! The runner's commands, one file each.

mod bench;
mod peft;
mod pipe;
mod score;
mod synthesize;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Computes jobs on one device, and checks results for people.
#[derive(Debug, Parser)]
#[command(name = "runner", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a worker over standard input and output.
    Pipe(pipe::Args),
    /// Recompute a reference folder and compare.
    Verify(verify::Args),
    /// Score model outputs.
    #[command(subcommand)]
    Score(score::Score),
    /// Make traces and held-out entries from tool definitions.
    Synthesize(synthesize::Args),
    /// Measure how fast this machine is.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Read a PEFT adapter, write it again, compute logits with it.
    Peft(peft::Args),
}

/// Parses the command line, runs the command, turns an error into one line.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("QUIVER_LOG").unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .init();
    let done = match cli.command {
        Command::Pipe(args) => pipe::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Score(command) => score::run(&command),
        Command::Synthesize(args) => synthesize::run(&args),
        Command::Bench(command) => bench::run(&command),
        Command::Peft(args) => peft::run(&args),
    };
    done.unwrap_or_else(|error| {
        use std::io::Write;
        let _unwritable_stderr = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}
