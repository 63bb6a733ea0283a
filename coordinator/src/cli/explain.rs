//! `explain`: why a job stands where it stands.

use clap::Args;
use proto::v1::ExplainRequest;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure};
use crate::output::{print, print_json, view};

/// What `explain` takes.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The job, by id.
    job: i64,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ExplainArgs) -> Result<(), Failure> {
    let mut operator = connect(&args.coordinator).await?;
    let reply = answer(operator.explain(ExplainRequest { job: args.job }).await)?;
    if args.json {
        return Ok(print_json(&view::Explained::from(reply))?);
    }
    print(&format!("job {} ({}) is {}", args.job, reply.label, reply.state))?;
    Ok(print(&reply.lines.join("\n"))?)
}
