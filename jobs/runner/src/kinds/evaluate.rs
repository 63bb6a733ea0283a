//! `evaluate`: one variant answers the held-out entries of one category.

use jobs_data::set::EntrySet;
use jobs_paratool::evaluate::{self, AdapterFolders, Inputs};
use jobs_paratool::gate::Gate;
use jobs_spec::job::{EvaluateSpec, input};
use jobs_spec::manifest::{AdapterSet, Weights};
use jobs_text::Chat;
use serde_json::Value;

use crate::error::JobError;
use crate::lane::Context;

pub(super) fn run(spec: &EvaluateSpec, context: &mut Context<'_>) -> Result<Value, JobError> {
    let base = context.input(input::BASE)?;
    let decoder = context.models().base(&base)?;
    let chat = Chat::load(&base).map_err(JobError::data)?;
    let entries = EntrySet::read(&context.input(input::ENTRIES)?).map_err(JobError::data)?;
    let adapters = adapters(spec.adapters(), context)?;
    let gate = match (spec.adapters(), spec.variant.weights) {
        (AdapterSet::None, _) | (_, Weights::Uniform | Weights::Oracle) => None,
        (_, Weights::Gate | Weights::Top1) => {
            let gate = Gate::read(&context.input(input::GATE)?)?;
            Some((gate, super::embed::encoder(&spec.embed, context)?))
        }
    };
    let inputs = Inputs {
        spec,
        decoder: &decoder,
        chat: &chat,
        entries: &entries,
        adapters: &adapters,
        gate: gate.as_ref().map(|(gate, encoder)| (gate, encoder)),
    };
    let resume = context.start().resume.as_deref();
    let report = evaluate::evaluate(&inputs, &context.output()?, resume, context)?;
    super::metrics(&report)
}

/// The adapters of the variant's set, by tool key.
fn adapters(set: AdapterSet, context: &Context<'_>) -> Result<AdapterFolders, JobError> {
    match set {
        AdapterSet::None => Ok(AdapterFolders::default()),
        AdapterSet::Finetuned => Ok(AdapterFolders::finetuned(&context.input(input::ADAPTERS)?)?),
        AdapterSet::Pretrained => {
            let inputs = context.start().inputs.iter();
            let folders = inputs
                .filter_map(|(name, path)| Some((input::tool_of_adapter(name)?.to_owned(), path.clone())));
            Ok(AdapterFolders::new(folders))
        }
    }
}
