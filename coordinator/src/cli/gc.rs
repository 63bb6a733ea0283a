//! `gc`: delete what nothing refers to any more.

use std::time::Duration;

use clap::Args;
use proto::v1::CollectRequest;

use super::connect::{answer, connect, next};
use super::{CoordinatorArgs, Failure};
use crate::output::{garbage_table, print, print_json, tell, view};

/// What `gc` takes.
#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Only tell what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Objects younger than this stay, as an upload may be on its way to its commit. A shorter time loses nothing: a commit that names
    /// what is being deleted is refused, and its worker uploads again.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Logs of attempts that are younger than this stay.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
    logs: Duration,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: GcArgs) -> Result<(), Failure> {
    let mut operator = connect(&args.coordinator).await?;
    let [grace_ms, logs_ms] =
        [args.grace, args.logs].map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let request = CollectRequest { dry_run: args.dry_run, grace_ms, logs_ms };
    let mut reports = answer(operator.collect(request).await)?;
    let mut last = None;
    while let Some(report) = next(&mut reports).await? {
        if !args.json && last.is_some() {
            tell(&format!("{} objects deleted", report.deleted));
        }
        last = Some(report);
    }
    let report = last.ok_or_else(|| Failure::new("the coordinator stopped before it had looked"))?;
    if args.json {
        return Ok(print_json(&view::Garbage::from(report))?);
    }
    Ok(print(&garbage_table(&report, args.dry_run))?)
}
