//! `status`: sweeps and workers.

use clap::Args;
use proto::v1::StatusRequest;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure};
use crate::output::{failure_line, print, print_json, score_table, sweeps_table, tell, view, workers_table};

/// What `status` takes.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// A sweep's id or name; all sweeps without.
    sweep: Option<String>,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: StatusArgs) -> Result<(), Failure> {
    let mut operator = connect(&args.coordinator).await?;
    let one = args.sweep.is_some();
    let request = StatusRequest { sweep: args.sweep.unwrap_or_default() };
    let status = answer(operator.status(request).await)?;
    if args.json {
        return Ok(print_json(&view::Status::from(status))?);
    }
    print(&sweeps_table(&status.sweeps))?;
    for sweep in status.sweeps.iter().filter(|_| one) {
        for failure in &sweep.failures {
            print(&failure_line(failure))?;
        }
        if !sweep.scores.is_empty() {
            print(&score_table(&sweep.scores))?;
        }
    }
    if status.workers.is_empty() {
        tell("no worker has registered");
        return Ok(());
    }
    print("")?;
    Ok(print(&workers_table(&status.workers))?)
}
