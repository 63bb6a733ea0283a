//! The peer: graphile-worker on the same Postgres.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::process::Command;

use crate::coordinator::clean;
use crate::database::empty_database;
use crate::report::Sheet;

#[derive(Deserialize)]
struct Outcome {
    jobs_per_s: f64,
}

/// Claims and completes trivial jobs, so many at a time, over a database of its own. Returns jobs per second.
pub(crate) async fn measure(
    sheet: &mut Sheet<'_>,
    jobs: usize,
    batch: usize,
    concurrency: usize,
) -> Result<f64> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer");
    if !folder.join("node_modules").is_dir() {
        bail!("{}: npm ci has not been run; bench/control-plane/run does", folder.display());
    }
    let mut command = Command::new("node");
    command.arg(folder.join("run.mjs")).arg(empty_database().await?);
    command.args([jobs, batch, concurrency].map(|n| n.to_string()));
    let output = clean(&mut command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .await
        .context("node cannot be started")?;
    if !output.status.success() {
        bail!("the peer: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let outcome: Outcome = serde_json::from_slice(&output.stdout).context("the peer's answer")?;
    sheet.note(
        format!("graphile-worker: {concurrency} lanes, {batch} at a time"),
        outcome.jobs_per_s,
        "jobs/s",
    );
    Ok(outcome.jobs_per_s)
}
