//! Stage 1: one adapter per tool.
//!
//! Every feed-forward projection of every layer gets a pair of low-rank matrices. All tools of a sweep start from the same A (drawn from
//! the sweep's seed) and from B = 0, so the first step leaves A's direction alone and moves every B by the learning rate. A tool's
//! samples are its traces in two forms, with the candidates' documents in the prompt and without, one sample a step, shuffled anew each
//! epoch; the order comes from the job key, so a tool's adapter does not depend on its company. AdamW, constant rate, no clipping.
//!
//! The training itself is the fan's ([`jobs_train::fan`]); here is what goes in and what comes out.

use std::path::Path;
use std::sync::Arc;

use jobs_data::set::TrainingSet;
use jobs_lora::{AdamW, Adapter, AdapterShape, peft};
use jobs_spec::job::PretrainSpec;
use jobs_spec::model::{ModelConfig, Projection};
use jobs_text::Chat;
use jobs_train::checkpoint::TrainState;
use jobs_train::fan::{SlotTask, Start, TaskId};
use jobs_train::schedule::Schedule;
use jobs_train::seed;
use proto::id::JobKey;
use serde::Serialize;

use crate::Failure;
use crate::samples::SampleBuilder;

/// The projections that adapters add to: the feed-forward part of every layer.
pub const TARGETS: [Projection; 3] = [Projection::Gate, Projection::Up, Projection::Down];

/// The name that adapter files give their base model: the artifact lies beside no base, so a path would be wrong anywhere else.
pub const BASE_NAME: &str = "base";

/// The shape of every adapter over a base model.
///
/// # Errors
/// When the rank is 0.
pub fn shape(base: &ModelConfig, rank: usize, alpha: f64) -> Result<Arc<AdapterShape>, Failure> {
    AdapterShape::targeting(rank, alpha, &TARGETS, base).map(Arc::new).map_err(Failure::spec)
}

/// What is known of a pretraining before it starts.
#[derive(Clone, Debug)]
pub struct Pretraining {
    samples: usize,
    dropped: usize,
    epochs: usize,
}

/// Figures of a finished pretraining.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PretrainMetrics {
    /// Samples in one epoch.
    pub samples: usize,
    /// Samples left out for their length.
    pub dropped: usize,
    /// Tokens that this run computed.
    pub tokens: u64,
    /// Mean loss of each epoch.
    pub epoch_losses: Vec<f64>,
}

/// A tool's task for the fan, fresh or resumed.
///
/// # Errors
/// When a trace cannot become a sample, or none is left.
pub fn task(
    id: TaskId,
    spec: &PretrainSpec,
    job: JobKey,
    traces: &TrainingSet,
    chat: &Chat,
    shape: &Arc<AdapterShape>,
    resume: Option<TrainState>,
) -> Result<(SlotTask, Pretraining), Failure> {
    let builder = SampleBuilder::new(chat, &spec.prompt, &traces.tools);
    let (samples, dropped) = builder.samples(traces.traces_of(&spec.tool), spec.with_documents)?;
    if samples.is_empty() {
        let (tool, limit) = (&spec.name, spec.prompt.max_tokens);
        return Err(Failure::Data(format!("tool {tool}: no sample ({dropped} longer than {limit} tokens)")));
    }
    let start = match resume {
        Some(state) => Start::Resume(state),
        None => Start::Fresh(Adapter::init(shape, spec.init_seed)),
    };
    let pretraining = Pretraining { samples: samples.len(), dropped, epochs: spec.epochs };
    let optimizer = AdamW { lr: spec.lr, weight_decay: spec.weight_decay, ..AdamW::default() };
    let seed = Some(seed::derive(&job.to_string(), "order"));
    let schedule = Schedule::default();
    Ok((SlotTask { id, samples, epochs: spec.epochs, seed, optimizer, schedule, start }, pretraining))
}

impl Pretraining {
    /// Writes the finished adapter as a PEFT folder and returns the figures; `losses` are those of every step.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn export(
        &self,
        adapter: &Adapter,
        losses: &[f32],
        tokens: u64,
        folder: &Path,
    ) -> Result<serde_json::Value, Failure> {
        peft::export(adapter, BASE_NAME, folder)?;
        let mean =
            |losses: &[f32]| losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len() as f64;
        let epoch_losses = losses.chunks(self.samples).take(self.epochs).map(mean).collect();
        let metrics = PretrainMetrics { samples: self.samples, dropped: self.dropped, tokens, epoch_losses };
        serde_json::to_value(metrics).map_err(Failure::data)
    }
}

#[cfg(test)]
mod tests;
