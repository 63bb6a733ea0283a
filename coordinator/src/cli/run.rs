//! `run`: a manifest to its end on this machine. It serves, submits, starts a worker, follows, and stops both; run again it resumes.

use std::path::{Path, PathBuf};

use clap::Args;
use proto::state::SweepState;
use proto::v1;
use proto_kit::telemetry;

use super::connect::{Operator, answer, connect};
use super::follow::{follow, is_over};
use super::{CoordinatorArgs, Failure, manifest_file, signal};
use crate::config::{Flags, Settings};
use crate::embedded::Embedded;
use crate::output::{failure_line, print, print_json, score_table, tell, view};

/// What `run` takes.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The manifest.
    manifest: PathBuf,
    /// Folder of everything that is computed; `quiver-data` here by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A device to compute on (`cpu`, `cuda:0`); may be given several times.
    #[arg(long = "device", value_name = "DEVICE", default_value = "cpu")]
    devices: Vec<String>,
    /// Settings file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged: a level, or directives by module.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// End with one line of JSON on standard output.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: RunArgs) -> Result<(), Failure> {
    let stopped = signal::stop()?;
    let request = manifest_file::request(&args.manifest)?;
    let flags = Flags { dir: args.dir, log: args.log, ..Flags::default() };
    let settings = Settings::load(args.config.as_deref(), flags)?;
    let filter = settings.log.as_deref().unwrap_or("warn");
    let telemetry = telemetry::init("quiver-coordinator", settings.log_format, filter)?;
    let ended = serve_and_compute(&settings, request, &args.devices, stopped).await;
    telemetry.finish().await;
    report(&ended?, &settings, args.json)
}

async fn serve_and_compute(
    settings: &Settings,
    request: v1::PlanRequest,
    devices: &[String],
    stopped: impl Future<Output = ()>,
) -> Result<v1::Sweep, Failure> {
    let mut embedded = Embedded::serve(settings).await?;
    let ended = tokio::select! {
        ended = computed(&mut embedded, request, devices) => ended,
        () = stopped => Err(Failure::Interrupted),
    };
    embedded.stop().await?;
    ended
}

/// Submits, and computes what is missing. Mistakes in the manifest show before a worker starts, and none starts for a sweep that is over.
async fn computed(
    embedded: &mut Embedded,
    request: v1::PlanRequest,
    devices: &[String],
) -> Result<v1::Sweep, Failure> {
    let mut operator = connect(&CoordinatorArgs { url: embedded.url() }).await?;
    let submitted = answer(operator.submit(request).await)?;
    let plan = submitted.plan.unwrap_or_default();
    plan.notes.iter().for_each(|note| tell(note));
    if let Some(sweep) = finished(&mut operator, submitted.sweep).await? {
        return Ok(sweep);
    }
    embedded.start_worker(devices)?;
    tokio::select! {
        sweep = follow(&mut operator, submitted.sweep) => sweep,
        error = embedded.worker_ended() => Err(error.into()),
    }
}

/// The sweep if it succeeded before. One that failed or was cancelled gets another try, as its cause may be gone.
async fn finished(operator: &mut Operator, sweep: i64) -> Result<Option<v1::Sweep>, Failure> {
    let status = answer(operator.status(v1::StatusRequest { sweep: sweep.to_string() }).await)?;
    let over = status.sweeps.into_iter().find(|known| known.id == sweep).filter(is_over);
    match over {
        Some(known) if known.state != SweepState::Succeeded.name() => {
            answer(
                operator.retry(v1::SelectRequest { sweep: sweep.to_string(), ..Default::default() }).await,
            )?;
            Ok(None)
        }
        over => Ok(over),
    }
}

fn report(sweep: &v1::Sweep, settings: &Settings, json: bool) -> Result<(), Failure> {
    if json {
        print_json(&view::Outcome::from(sweep.clone()))?;
    } else {
        if !sweep.scores.is_empty() {
            print(&score_table(&sweep.scores))?;
        }
        print(&artifacts(sweep, Path::new(&settings.store())))?;
    }
    let mut errors: Vec<String> = sweep.failures.iter().map(failure_line).collect();
    if sweep.state == SweepState::Succeeded.name() {
        errors.iter().for_each(|waived| tell(waived));
        return Ok(());
    }
    if errors.is_empty() {
        errors.push(format!("sweep {} is {}", sweep.name, sweep.state));
    }
    Err(Failure::Errors(errors))
}

/// Where the results are: one line each while they are few.
fn artifacts(sweep: &v1::Sweep, store: &Path) -> String {
    const FEW: usize = 8;
    if sweep.artifacts.len() > FEW {
        return format!("{} artifacts in {}; --json lists them", sweep.artifacts.len(), store.display());
    }
    let mut lines: Vec<String> = sweep
        .artifacts
        .iter()
        .map(|(name, artifact)| format!("{name}: {}", store.join(&artifact.path).display()))
        .collect();
    lines.sort();
    lines.join("\n")
}
