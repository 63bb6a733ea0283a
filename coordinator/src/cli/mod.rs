//! The commands, one file each. Data goes to standard output, everything else to standard error; an error is one line and exit code 1.

mod artifacts;
mod change;
mod connect;
mod drain;
mod events;
mod explain;
mod failure;
mod follow;
mod gc;
mod jobs;
mod logs;
mod manifest_file;
mod plan;
mod quota;
mod run;
mod serve;
mod signal;
mod status;
mod submit;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use proto::error::ErrorCode;
use proto::state::JobState;

pub use failure::Failure;

/// Owns the job table: plans sweeps, leases jobs to workers, answers operators.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a manifest to its end on this machine; run again to resume.
    Run(run::RunArgs),
    /// Serve workers and operators until told to stop.
    Serve(serve::ServeArgs),
    /// Show what submitting a manifest would do; changes nothing.
    Plan(plan::PlanArgs),
    /// Hand a manifest to a coordinator.
    Submit(submit::SubmitArgs),
    /// Show sweeps and workers.
    Status(status::StatusArgs),
    /// List the jobs of a sweep.
    Jobs(jobs::JobsArgs),
    /// End a sweep, or some of its jobs, without a result.
    Cancel(change::ChangeArgs),
    /// Give failed, cancelled and waived jobs of a sweep a new attempt.
    Retry(change::ChangeArgs),
    /// Go on without the results of some jobs of a sweep.
    Waive(change::ChangeArgs),
    /// Tell why a job stands where it stands.
    Explain(explain::ExplainArgs),
    /// Order a worker to take no more jobs and to end or give back what it has.
    Drain(drain::DrainArgs),
    /// Limit the lanes that an owner's jobs may have at a time, or list the limits.
    Quota(quota::QuotaArgs),
    /// Show the journal: every change of a job or sweep.
    Events(events::EventsArgs),
    /// Show what runners said while they computed a job.
    Logs(logs::LogsArgs),
    /// List, fetch, check and export what jobs made.
    #[command(subcommand)]
    Artifacts(artifacts::ArtifactsCommand),
    /// Delete objects that nothing refers to any more.
    Gc(gc::GcArgs),
}

/// Which coordinator a client command talks to.
#[derive(Debug, Args)]
struct CoordinatorArgs {
    /// The coordinator's address; several, separated by commas, where some stand by.
    #[arg(
        long = "coordinator",
        value_name = "URL",
        env = "QUIVER_COORDINATOR",
        default_value = "http://127.0.0.1:7700"
    )]
    url: String,
}

/// Which sweep, or which jobs of it.
#[derive(Debug, Args)]
struct SelectArgs {
    /// The sweep's id or name; of several of one name the newest.
    sweep: String,
    /// Only these jobs, by id.
    #[arg(long = "job", value_name = "ID")]
    jobs: Vec<i64>,
    /// Only jobs of this stage.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(crate::plan::STAGES))]
    stage: Option<String>,
    /// Only jobs in this state.
    #[arg(long)]
    state: Option<JobState>,
    /// Only jobs whose label matches a pattern with `*` and `?`.
    #[arg(long, value_name = "PATTERN")]
    label: Option<String>,
    /// Only jobs that failed last with this code.
    #[arg(long, value_name = "CODE")]
    error: Option<ErrorCode>,
    /// Only jobs whose newest loss is above this.
    #[arg(long, value_name = "LOSS")]
    loss_above: Option<f64>,
    /// Only tell what would change.
    #[arg(long)]
    preview: bool,
}

impl From<SelectArgs> for proto::v1::SelectRequest {
    fn from(select: SelectArgs) -> Self {
        let SelectArgs { sweep, jobs, stage, state, label, error, loss_above, preview } = select;
        Self {
            sweep,
            jobs,
            stage: stage.unwrap_or_default(),
            state: state.map(|state| state.name().to_owned()).unwrap_or_default(),
            label: label.unwrap_or_default(),
            error_code: error.map(|code| code.name().to_owned()).unwrap_or_default(),
            loss_above,
            preview,
        }
    }
}

/// Runs the command of the command line.
pub async fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Plan(args) => plan::run(args).await,
        Command::Submit(args) => submit::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Jobs(args) => jobs::run(args).await,
        Command::Cancel(args) => change::run(args, change::Change::Cancel).await,
        Command::Retry(args) => change::run(args, change::Change::Retry).await,
        Command::Waive(args) => change::run(args, change::Change::Waive).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Drain(args) => drain::run(args).await,
        Command::Quota(args) => quota::run(args).await,
        Command::Events(args) => events::run(args).await,
        Command::Logs(args) => logs::run(args).await,
        Command::Artifacts(command) => artifacts::run(command).await,
        Command::Gc(args) => gc::run(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}
