//! `logs`: what runners said while they computed a job.

use clap::Args;
use proto::v1::LogsRequest;

use super::connect::{answer, connect, next};
use super::{CoordinatorArgs, Failure};
use crate::output::{print, tell};

/// What `logs` takes.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The job, by id.
    job: i64,
    /// An earlier attempt; the newest without.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    attempt: Option<u32>,
    /// Go on until the attempt has ended.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
}

pub(super) async fn run(args: LogsArgs) -> Result<(), Failure> {
    let mut operator = connect(&args.coordinator).await?;
    let request =
        LogsRequest { job: args.job, attempt: args.attempt.unwrap_or_default(), follow: args.follow };
    let mut parts = answer(operator.logs(request).await)?;
    let mut silent = true;
    while let Some(part) = next(&mut parts).await? {
        silent = false;
        print(&part.text)?;
    }
    if silent {
        tell("nothing was said, or it is not in the object store yet");
    }
    Ok(())
}
