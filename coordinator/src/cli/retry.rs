//! `retry`: give failed and cancelled jobs a new attempt.

use clap::Args;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure, SelectArgs};
use crate::output::{preview_line, print, print_json, view};

/// What `retry` takes.
#[derive(Debug, Args)]
pub(super) struct RetryArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: RetryArgs) -> Result<(), Failure> {
    let preview = args.select.preview;
    let mut operator = connect(&args.coordinator).await?;
    let reply = answer(operator.retry(proto::v1::SelectRequest::from(args.select)).await)?;
    if args.json {
        return Ok(print_json(&view::Changed::from(reply))?);
    }
    if preview {
        return Ok(print(&preview_line(&reply))?);
    }
    Ok(print(&format!("{} jobs to be tried again", reply.changed))?)
}
