//! `plan`: what submitting a manifest would do. Asks a coordinator where one is named; otherwise looks into a folder that `run` uses.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use coordinator_store::{SqlStore, Store};
use proto::v1;

use super::connect::{answer, connect};
use super::{CoordinatorArgs, CredentialArgs, Failure, manifest_file};
use crate::config::{Database, Flags, Settings};
use crate::output::{plan_table, print, print_json, tell, view};
use crate::plan;
use crate::server::{planner, preview};

/// What `plan` takes.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The manifest.
    manifest: PathBuf,
    /// Ask this coordinator instead of looking into a folder.
    #[arg(long = "coordinator", value_name = "URL", env = "QUIVER_COORDINATOR")]
    url: Option<String>,
    #[command(flatten)]
    credentials: CredentialArgs,
    /// Look into this folder of `run`, whatever coordinator is named.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: PlanArgs) -> Result<(), Failure> {
    let request = manifest_file::request(&args.manifest)?;
    let reply = match (args.dir, args.url) {
        (None, Some(url)) => {
            let mut operator = connect(&CoordinatorArgs { url, credentials: args.credentials }).await?;
            answer(operator.plan(request).await)?
        }
        (dir, _) => offline(request, dir).await?,
    };
    if args.json {
        return Ok(print_json(&view::Plan::from(reply))?);
    }
    reply.notes.iter().for_each(|note| tell(note));
    Ok(print(&plan_table(&reply))?)
}

/// Plans here, and compares with the folder's table if there is one.
async fn offline(request: v1::PlanRequest, dir: Option<PathBuf>) -> Result<v1::PlanReply, Failure> {
    let settings = Settings::load(None, Flags { dir, ..Flags::default() })?;
    let v1::PlanRequest { manifest, folder, file, .. } = request;
    let planned = plan::plan(&planner::PlanRequest { manifest, folder: folder.into(), file })?;
    let states = match settings.database()? {
        Database::File(file) if file.is_file() => {
            let table = SqlStore::sqlite(&file, settings.policy()).await?;
            let states = table.states(planned.jobs.iter().map(|job| job.key).collect()).await?;
            table.close().await;
            states
        }
        Database::File(_) | Database::Postgres(_) => BTreeMap::new(),
    };
    Ok(preview(&planned, &states))
}
