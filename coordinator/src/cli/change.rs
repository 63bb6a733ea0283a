//! `cancel`, `retry`, `waive`: change some jobs of a sweep.

use clap::Args;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure, SelectArgs};
use crate::output::{preview_line, print, print_json, view};

/// What `cancel`, `retry` and `waive` take.
#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What happens to the jobs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// They end without a result.
    Cancel,
    /// They get a fresh budget.
    Retry,
    /// The sweep goes on without their results.
    Waive,
}

pub(super) async fn run(args: ChangeArgs, change: Change) -> Result<(), Failure> {
    let preview = args.select.preview;
    let mut operator = connect(&args.coordinator).await?;
    let request = proto::v1::SelectRequest::from(args.select);
    let (reply, done) = match change {
        Change::Cancel => (operator.cancel(request).await, "cancelled"),
        Change::Retry => (operator.retry(request).await, "to be tried again"),
        Change::Waive => (operator.waive(request).await, "waived"),
    };
    let reply = answer(reply)?;
    if args.json {
        return Ok(print_json(&view::Changed::from(reply))?);
    }
    if preview {
        return Ok(print(&preview_line(&reply))?);
    }
    Ok(print(&format!("{} jobs {done}", reply.changed))?)
}
