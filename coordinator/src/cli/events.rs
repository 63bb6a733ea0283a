//! `events`: the journal.

use clap::Args;
use proto::v1::EventsRequest;

use super::connect::{answer, connect, next};
use super::{CoordinatorArgs, Failure};
use crate::output::{event_line, print, print_json, view};

/// What `events` takes.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Go on as entries are added.
    #[arg(short, long)]
    follow: bool,
    /// Begin behind this entry.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: i64,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON, an entry a line.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: EventsArgs) -> Result<(), Failure> {
    let mut operator = connect(&args.coordinator).await?;
    let request = EventsRequest { after: args.after, follow: args.follow };
    let mut entries = answer(operator.events(request).await)?;
    while let Some(entry) = next(&mut entries).await? {
        if args.json {
            print_json(&view::Event::from(entry))?;
        } else {
            print(&event_line(&entry))?;
        }
    }
    Ok(())
}
