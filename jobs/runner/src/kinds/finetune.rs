//! `finetune`: all adapters jointly, under the frozen gate's weights.

use jobs_data::set::TrainingSet;
use jobs_lora::peft;
use jobs_paratool::embed::Embeddings;
use jobs_paratool::gate::Gate;
use jobs_paratool::stage1_pretrain;
use jobs_paratool::stage3_joint::{self, FinetuneMetrics, Inputs};
use jobs_spec::job::{FinetuneSpec, input};
use jobs_text::Chat;
use serde::Serialize;
use serde_json::Value;

use crate::error::JobError;
use crate::fan::halved;
use crate::lane::Context;

pub(super) fn run(spec: &FinetuneSpec, context: &mut Context<'_>) -> Result<Value, JobError> {
    let base = context.input(input::BASE)?;
    let decoder = context.models().base(&base)?;
    let chat = Chat::load(&base).map_err(JobError::data)?;
    let set = TrainingSet::read(&context.input(input::DATASET)?).map_err(JobError::data)?;
    let gate = Gate::read(&context.input(input::GATE)?)?;
    let embeddings = Embeddings::read(&context.input(input::EMBEDDINGS)?)?;
    let shape = stage1_pretrain::shape(decoder.config(), spec.rank, spec.alpha)?;
    let has_adapter = |tool: &String| context.start().inputs.contains_key(&input::adapter(tool));
    let (tools, waived): (Vec<_>, Vec<_>) = spec.tools.iter().cloned().partition(has_adapter);
    if tools.is_empty() {
        return Err(JobError::data("every adapter was waived"));
    }
    let spec = &FinetuneSpec { tools, ..spec.clone() };
    let adapters = spec.tools.iter().map(|tool| {
        let folder = context.input(&input::adapter(tool))?;
        peft::import(&folder, decoder.config()).map_err(JobError::data)
    });
    let inputs = Inputs {
        spec,
        decoder: &decoder,
        chat: &chat,
        set: &set,
        gate: &gate,
        embeddings: &embeddings,
        shape: &shape,
        adapters: adapters.collect::<Result<_, _>>()?,
        tokens_per_pass: halved(stage3_joint::TOKENS_PER_PASS, context.start().halvings),
    };
    let resume = context.start().resume.as_deref();
    let (finetuned, metrics) = stage3_joint::finetune(inputs, resume, context)?;
    finetuned.write(&context.output()?)?;
    super::metrics(&Metrics { figures: metrics, waived })
}

#[derive(Serialize)]
struct Metrics {
    #[serde(flatten)]
    figures: FinetuneMetrics,
    /// Keys of the tools whose adapters were waived.
    waived: Vec<String>,
}
