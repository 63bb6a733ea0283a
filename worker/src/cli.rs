//! The command line.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use proto_kit::{config, human, telemetry};
use serde::Serialize;
use worker::{Error, Exit, Settings, Worker};

use crate::signals;

/// Runs jobs of a coordinator on this machine's devices.
#[derive(Debug, Parser)]
#[command(name = "worker", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join a coordinator and work until told to leave.
    ///
    /// SIGTERM, SIGINT and SIGUSR1 drain: no more jobs are taken, running ones end, or are saved and given back. A second SIGTERM or
    /// SIGINT ends at once. Exit codes: 0 left in good order, 1 cannot begin or go on, 2 wrong command line, 3 the coordinator was away
    /// for too long, 4 a newer worker of the same name has taken the place, 5 left with jobs not given back.
    Run(Run),
}

/// Every setting can also stand in the file, section `[worker]`, or in a variable `QUIVER_WORKER__…`.
#[derive(Debug, Parser)]
struct Run {
    /// A TOML file with settings.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Stop when standard input ends, because that is when the parent died.
    #[arg(long)]
    exit_with_parent: bool,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, clap::Args, Serialize)]
struct Flags {
    /// The coordinator's address, such as http://127.0.0.1:7700; several, separated by commas, where some stand by.
    #[arg(long, value_name = "URL")]
    coordinator: Option<String>,
    /// A device to drive: `cpu` or `cuda:N`. Repeat it for several.
    #[arg(long)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    device: Vec<String>,
    /// This worker's name; host and folder by default. A newer process of the same name takes its place.
    #[arg(long)]
    name: Option<String>,
    /// The folder of cache and scratch files. One worker at a time uses it.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The runner's program; the one beside this program by default.
    #[arg(long)]
    runner: Option<PathBuf>,
    /// How long to try to reach the coordinator at the start.
    #[arg(long, value_parser = humantime::parse_duration)]
    #[serde(serialize_with = "human::optional::serialize")]
    connect_timeout: Option<Duration>,
    /// How long this process may run, such as what is left of a batch job's time; it drains early enough to have left by then.
    #[arg(long, value_parser = humantime::parse_duration)]
    #[serde(serialize_with = "human::optional::serialize")]
    time_limit: Option<Duration>,
    /// How long a drain before leaving may take: running jobs that would end within it end, the others are saved and given back.
    #[arg(long, value_parser = humantime::parse_duration)]
    #[serde(serialize_with = "human::optional::serialize")]
    drain_grace: Option<Duration>,
    /// Address at which monitors read this worker's figures, such as 127.0.0.1:7701.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
}

/// Runs the command; an error becomes one line and a failing exit code.
pub(crate) fn main() -> ExitCode {
    let Command::Run(args) = Cli::parse().command;
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _unwritable_stderr = writeln!(std::io::stderr(), "error: {error:#}");
            error.downcast_ref().map_or(ExitCode::FAILURE, |error: &Error| error.exit_code().into())
        }
    }
}

fn run(args: Run) -> anyhow::Result<()> {
    let settings: Settings = config::load_section("worker", args.config.as_deref(), args.flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let telemetry = telemetry::init("quiver-worker", settings.log_format, &settings.log)?;
        let exit = Exit::default();
        tokio::spawn(signals::listen(&exit)?);
        if args.exit_with_parent {
            tokio::spawn(signals::parent(exit.clone()));
        }
        let worked = Worker::new(settings)?.run(exit).await;
        telemetry.finish().await;
        Ok(worked?)
    });
    // A read of standard input may still hang in the runtime's own thread; nobody waits for it.
    runtime.shutdown_background();
    done
}
