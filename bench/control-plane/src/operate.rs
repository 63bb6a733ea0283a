//! What an operator waits for: `status`, `plan` and `submit`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use proto::v1;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::coordinator::{Coordinator, clean, program};
use crate::latency::Latencies;
use crate::report::{Goal, Sheet};

/// Tools of one record of the dataset, all of them candidates of each other's traces.
const CANDIDATES: usize = 4;

/// Asks for the status of all sweeps, and of one.
pub(crate) async fn status(coordinator: &Coordinator, sheet: &mut Sheet<'_>, times: usize) -> Result<()> {
    let mut operator = coordinator.operator().await?;
    for (what, sweep) in [("status of all sweeps", ""), ("status of one sweep", "1")] {
        let mut latencies = Latencies::default();
        for _ in 0..times {
            let began = Instant::now();
            let reply = operator.status(v1::StatusRequest { sweep: sweep.to_owned() }).await?.into_inner();
            latencies.note(began);
            reply.sweeps.first().context("the coordinator shows no sweep")?;
        }
        sheet.latencies(what, &latencies, Some(Goal::AtMost(100.0)));
    }
    Ok(())
}

/// Plans a manifest of so many tools, then submits it, by the command line.
pub(crate) async fn submit(
    coordinator: &Coordinator,
    sheet: &mut Sheet<'_>,
    folder: &Path,
    tools: usize,
) -> Result<()> {
    let manifest = write_manifest(folder, tools)?;
    let mut whole = 0.0;
    for command in ["plan", "submit"] {
        let began = Instant::now();
        let mut program = Command::new(program("coordinator")?);
        program.arg(command).arg(&manifest).args(["--coordinator", &coordinator.url]);
        let output = clean(&mut program).stderr(Stdio::piped()).output().await?;
        if !output.status.success() {
            bail!("coordinator {command}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let seconds = began.elapsed().as_secs_f64();
        sheet.note(format!("{command} of {tools} tools"), seconds, "s");
        whole += seconds;
    }
    sheet.hold(format!("plan and submit of {tools} tools"), whole, "s", Goal::AtMost(5.0));
    Ok(())
}

/// A manifest over made-up tools with two traces each.
fn write_manifest(folder: &Path, tools: usize) -> Result<PathBuf> {
    let mut records = String::new();
    for first in (0..tools).step_by(CANDIDATES) {
        let documents: Vec<_> = (first..tools.min(first + CANDIDATES)).map(document).collect();
        let functions: Vec<_> = documents.iter().map(|own| with_traces(own, &documents)).collect();
        let record = json!({ "id": format!("record_{first}"), "question": "x", "function": functions });
        writeln!(records, "{record}")?;
    }
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/tiny-base").canonicalize()?;
    fs::create_dir_all(folder.join("tools"))?;
    fs::write(folder.join("tools/multiple.jsonl"), records)?;
    let manifest = folder.join("many.yaml");
    let base = json!(base);
    fs::write(
        &manifest,
        format!("name: many\nbase: {{path: {base}}}\ndataset: {{records: {{path: tools}}}}\n"),
    )?;
    Ok(manifest)
}

fn document(n: usize) -> Value {
    let text = |of: &str| json!({ "type": "string", "description": format!("the {of} that is meant") });
    json!({
        "name": format!("service_{n}.look_up"),
        "description": format!("Looks up in register {n} what is known of a place at a time, in a unit."),
        "parameters": {
            "type": "dict",
            "properties": { "place": text("place"), "time": text("time"), "unit": text("unit") },
            "required": ["place"],
        },
    })
}

fn with_traces(own: &Value, candidates: &[Value]) -> Value {
    let name = own["name"].as_str().unwrap_or_default();
    let trace = |place: &str| {
        json!({
            "question": format!("What does {name} know of {place} today, in metric units?"),
            "candidate_tools": candidates,
            "answer": format!("[{name}(place='{place}', time='today', unit='metric')]"),
        })
    };
    let mut function = own.clone();
    function["training_data"] = json!([trace("Oslo"), trace("Bergen")]);
    function
}
