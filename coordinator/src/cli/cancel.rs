//! `cancel`: end a sweep, or some of its jobs, without a result.

use clap::Args;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure, SelectArgs};
use crate::output::{preview_line, print, print_json, view};

/// What `cancel` takes.
#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: CancelArgs) -> Result<(), Failure> {
    let preview = args.select.preview;
    let mut operator = connect(&args.coordinator).await?;
    let reply = answer(operator.cancel(proto::v1::SelectRequest::from(args.select)).await)?;
    if args.json {
        return Ok(print_json(&view::Changed::from(reply))?);
    }
    if preview {
        return Ok(print(&preview_line(&reply))?);
    }
    Ok(print(&format!("{} jobs cancelled", reply.changed))?)
}
