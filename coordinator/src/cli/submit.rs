//! `submit`: hand a manifest to a coordinator.

use std::path::PathBuf;

use clap::Args;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, Failure, manifest_file};
use crate::output::{plan_table, print, print_json, tell, view};

/// What `submit` takes.
#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// The manifest, on a path that the coordinator's machine has too.
    manifest: PathBuf,
    #[command(flatten)]
    coordinator: CoordinatorArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: SubmitArgs) -> Result<(), Failure> {
    let request = manifest_file::request(&args.manifest)?;
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
