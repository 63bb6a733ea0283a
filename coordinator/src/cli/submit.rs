//! `submit`: hand a manifest to a coordinator.

use std::path::PathBuf;

use clap::Args;
use proto::v1::PlanRequest;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure, manifest_file};
use crate::output::{plan_table, print, print_json, tell, view};

/// What `submit` takes.
#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// The manifest, on a path that the coordinator's machine has too.
    manifest: PathBuf,
    /// Whose quota its jobs count against.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "")]
    owner: String,
    /// Higher goes first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: SubmitArgs) -> Result<(), Failure> {
    let SubmitArgs { owner, priority, .. } = &args;
    let request =
        PlanRequest { owner: owner.clone(), priority: *priority, ..manifest_file::request(&args.manifest)? };
    let mut operator = connect(&args.coordinator).await?;
    let submitted = answer(operator.submit(request).await)?;
    if args.json {
        return Ok(print_json(&view::Submitted::from(submitted))?);
    }
    let plan = submitted.plan.unwrap_or_default();
    plan.notes.iter().for_each(|note| tell(note));
    print(&plan_table(&plan))?;
    Ok(print(&format!("sweep {} ({})", submitted.sweep, plan.name))?)
}
