//! `jobs`: the jobs of a sweep.

use clap::Args;
use proto::state::JobState;
use proto::v1::JobsRequest;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure};
use crate::output::{jobs_table, print, print_json, tell, view};
use crate::plan::STAGES;

/// What `jobs` takes.
#[derive(Debug, Args)]
pub(super) struct JobsArgs {
    /// The sweep's id or name.
    sweep: String,
    /// Only jobs of this stage.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(STAGES))]
    stage: Option<String>,
    /// Only jobs in this state.
    #[arg(long)]
    state: Option<JobState>,
    /// Show at most this many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: JobsArgs) -> Result<(), Failure> {
    let mut operator = connect(&args.coordinator).await?;
    let request = JobsRequest {
        sweep: args.sweep,
        stage: args.stage.unwrap_or_default(),
        state: args.state.map(|state| state.name().to_owned()).unwrap_or_default(),
        limit: args.limit,
    };
    let reply = answer(operator.jobs(request).await)?;
    if args.json {
        return Ok(print_json(&view::Jobs::from(reply))?);
    }
    let shown = reply.jobs.len() as u64;
    if shown < reply.matching {
        tell(&format!("{shown} of {} jobs; see --limit", reply.matching));
    }
    Ok(print(&jobs_table(&reply.jobs))?)
}
