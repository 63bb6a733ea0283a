//! `drain`: order a worker to take no more jobs, or call that off.

use std::time::Duration;

use clap::Args;
use proto::v1::DrainRequest;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure};
use crate::output::print;

/// What `drain` takes.
#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// The worker's name.
    worker: String,
    /// How long running jobs may go on; what cannot end in time is checkpointed and given back, at no cost to its tries.
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Call the drain off, and forgive what the worker was blamed for.
    #[arg(long, conflicts_with = "grace")]
    off: bool,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
}

pub(super) async fn run(args: DrainArgs) -> Result<(), Failure> {
    let mut operator = connect(&args.coordinator).await?;
    let grace_ms = u64::try_from(args.grace.as_millis()).unwrap_or(u64::MAX);
    let request = DrainRequest { worker: args.worker.clone(), grace_ms, off: args.off };
    answer(operator.drain(request).await)?;
    let worker = args.worker;
    Ok(print(&if args.off {
        format!("{worker} takes jobs again")
    } else {
        format!(
            "{worker} takes no more jobs; what runs may go on for {}",
            humantime::format_duration(args.grace)
        )
    })?)
}
