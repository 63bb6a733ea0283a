//! `gate`: learns which candidate a question calls for.

use jobs_data::set::TrainingSet;
use jobs_paratool::embed::Embeddings;
use jobs_paratool::stage2_gate;
use jobs_spec::job::{GateSpec, input};
use serde_json::Value;

use crate::error::JobError;
use crate::lane::Context;

pub(super) fn run(spec: &GateSpec, context: &mut Context<'_>) -> Result<Value, JobError> {
    let set = TrainingSet::read(&context.input(input::DATASET)?).map_err(JobError::data)?;
    let embeddings = Embeddings::read(&context.input(input::EMBEDDINGS)?)?;
    let device = context.device().clone();
    let resume = context.start().resume.as_deref();
    let (gate, metrics) = stage2_gate::train(spec, &embeddings, &set, &device, resume, context)?;
    gate.write(&context.output()?)?;
    super::metrics(&metrics)
}
