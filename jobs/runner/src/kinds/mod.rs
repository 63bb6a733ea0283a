//! The registry of job kinds, one file each. A new kind is a spec in `jobs/spec`, its work under `jobs/`, and a file here.

mod base;
mod embed;
mod evaluate;
mod finetune;
mod gate;

use jobs_spec::job::JobSpec;
use serde_json::Value;

use crate::error::JobError;
use crate::lane::Context;

/// The kinds that this runner knows. `pretrain` runs in the fan ([`crate::fan`]), the others alone in their lane.
pub(crate) const NAMES: [&str; 6] = ["base", "embed", "pretrain", "gate", "finetune", "evaluate"];

/// Runs a job that has the lane to itself; its files are in the context's output folder afterwards. Returns its metrics.
pub(crate) fn run(spec: &JobSpec, context: &mut Context<'_>) -> Result<Value, JobError> {
    match spec {
        JobSpec::Base(spec) => base::run(spec, context),
        JobSpec::Embed(spec) => embed::run(spec, context),
        JobSpec::Gate(spec) => gate::run(spec, context),
        JobSpec::Finetune(spec) => finetune::run(spec, context),
        JobSpec::Evaluate(spec) => evaluate::run(spec, context),
        JobSpec::Pretrain(_) => Err(JobError::spec("pretraining runs in a fan")),
    }
}

/// Metrics as JSON.
fn metrics(metrics: &impl serde::Serialize) -> Result<Value, JobError> {
    serde_json::to_value(metrics)
        .map_err(|error| JobError::data(format!("the metrics cannot be written: {error}")))
}
