//! `embed`: contexts and tool documents through the frozen encoder, once for every gate of a sweep.

use jobs_data::set::TrainingSet;
use jobs_lm::bert::Encoder;
use jobs_paratool::embed::{Embeddings, TextEncoder};
use jobs_spec::job::{EmbedSpec, input};
use jobs_spec::manifest::{Embed, QueryEncoder};
use jobs_text::Tokenizer;
use serde::Serialize;
use serde_json::Value;

use crate::error::JobError;
use crate::lane::Context;

#[derive(Debug, Serialize)]
struct Metrics {
    texts: usize,
    dimension: usize,
}

pub(super) fn run(spec: &EmbedSpec, context: &mut Context<'_>) -> Result<Value, JobError> {
    let set = TrainingSet::read(&context.input(input::DATASET)?).map_err(JobError::data)?;
    let encoder = encoder(&spec.embed, context)?;
    let embeddings = Embeddings::of(&set, &encoder, context)?;
    embeddings.write(&context.output()?)?;
    super::metrics(&Metrics { texts: embeddings.len(), dimension: embeddings.dimension() })
}

/// The encoder that the settings name, from the job's inputs.
pub(super) fn encoder(settings: &Embed, context: &mut Context<'_>) -> Result<TextEncoder, JobError> {
    match settings.q_encoder {
        QueryEncoder::Base => {
            let folder = context.input(input::BASE)?;
            let tokenizer = Tokenizer::load(&folder).map_err(JobError::data)?;
            let decoder = context.models().base(&folder)?;
            Ok(TextEncoder::base(decoder, tokenizer, settings.layer, settings.pooling))
        }
        QueryEncoder::Bge(_) => {
            let folder = context.input(input::ENCODER)?;
            let tokenizer = Tokenizer::load(&folder).map_err(JobError::data)?;
            let encoder = Encoder::load(&folder, context.device()).map_err(JobError::data)?;
            Ok(TextEncoder::bert(encoder, tokenizer))
        }
    }
}
