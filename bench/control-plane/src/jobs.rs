//! Jobs to fill a table with: adapters with specs of the real size and shape, or trivial ones.

use anyhow::Result;
use coordinator_store::Store;
use coordinator_store::model::{Artifact, NewInput, NewJob, NewSweep, Source};
use jobs_spec::job::{FanLimits, JobSpec, PretrainSpec};
use jobs_spec::manifest::{Pretrain, Prompt};
use proto::id::{Digest, JobKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::database::Table;

/// Jobs of one sweep, of which a table of a million has some.
const SWEEP: u64 = 50_000;

/// Fills a table up with adapters that are ready, from `have` jobs to `want`.
pub(crate) async fn fill(table: &Table, have: u64, want: u64) -> Result<()> {
    let mut first = have;
    while first < want {
        let last = want.min(first + SWEEP);
        let jobs = (first..last).map(adapter).collect::<Result<_>>()?;
        table.store.submit(table.stamp(), sweep(format!("sweep-{first}"), "pretrain", jobs)).await?;
        first = last;
    }
    Ok(())
}

/// The `n`th adapter.
fn adapter(n: u64) -> Result<NewJob> {
    let tool = digest(&format!("tool {n}"));
    let (stage, prompt) = (Pretrain::default(), Prompt::default());
    let spec = PretrainSpec::new(tool.to_string(), format!("weather_forecast_{n}"), &stage, &prompt, 1);
    let limits = FanLimits { slots: stage.slots, tokens_per_pass: stage.tokens_per_pass };
    let input = |name: &str, of: String| {
        let digest = digest(&of);
        let source = Source::Artifact(Artifact { path: format!("imports/{digest}"), digest });
        NewInput { name: name.to_owned(), source, optional: false }
    };
    Ok(NewJob {
        key: JobKey(digest(&format!("adapter {n}"))),
        kind: "pretrain".to_owned(),
        stage: "pretrain".to_owned(),
        label: format!("weather_forecast_{n}"),
        spec: serde_json::to_string(&JobSpec::Pretrain(spec))?,
        inputs: vec![input("base", "base".to_owned()), input("dataset", format!("traces {n}"))],
        fan: Some(digest("fan")),
        fan_limits: Some(serde_json::to_string(&limits)?),
        coverage: false,
        may_miss: 0,
        tokens: 1_000 + n * 7_919 % 9_000,
    })
}

/// A job that the scripted runner of the worker's tests carries out.
pub(crate) fn scripted(name: &str, script: &Value) -> NewJob {
    NewJob {
        key: JobKey(digest(name)),
        kind: "scripted".to_owned(),
        stage: "scripted".to_owned(),
        label: name.to_owned(),
        spec: script.to_string(),
        inputs: Vec::new(),
        fan: None,
        fan_limits: None,
        coverage: false,
        may_miss: 0,
        tokens: 1,
    }
}

/// A sweep of one stage.
pub(crate) fn sweep(name: String, stage: &str, jobs: Vec<NewJob>) -> NewSweep {
    NewSweep {
        manifest_digest: digest(&name),
        name,
        owner: "bench".to_owned(),
        priority: 0,
        stages: vec![stage.to_owned()],
        trace: None,
        jobs,
    }
}

/// What a trivial job hands in.
pub(crate) fn result(key: &str) -> Artifact {
    let digest = digest(key);
    Artifact { path: format!("manifests/{digest}"), digest }
}

/// The figures that an adapter's runner reports.
pub(crate) fn metrics() -> Value {
    json!({ "loss": 0.25, "steps": 300, "tokens": 5_000 })
}

fn digest(text: &str) -> Digest {
    Digest::new(Sha256::digest(text.as_bytes()).into())
}
