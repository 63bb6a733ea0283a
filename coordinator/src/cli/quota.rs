//! `quota`: the lanes that an owner's jobs may have at a time.

use clap::Args;
use proto::v1::QuotaRequest;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure};
use crate::output::{print, print_json, quotas_table, view};

/// What `quota` takes.
#[derive(Debug, Args)]
pub(super) struct QuotaArgs {
    /// The owner; without, the limits are listed.
    #[arg(default_value = "")]
    owner: String,
    /// The limit.
    #[arg(requires = "owner", required_unless_present_any = ["off", "list"])]
    lanes: Option<u64>,
    /// Lift the owner's limit.
    #[arg(long, requires = "owner", conflicts_with = "lanes")]
    off: bool,
    /// List the limits.
    #[arg(long, conflicts_with_all = ["owner", "lanes", "off"])]
    list: bool,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: QuotaArgs) -> Result<(), Failure> {
    let mut operator = connect(&args.coordinator).await?;
    let reply = answer(operator.quota(QuotaRequest { owner: args.owner, max_lanes: args.lanes }).await)?;
    if args.json {
        return Ok(print_json(&view::Quotas::from(reply))?);
    }
    Ok(print(&quotas_table(&reply))?)
}
