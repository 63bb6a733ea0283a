//! Training of a whole model from nothing: every weight by AdamW, several samples a step.

use jobs_lm::adapt::NoAdapters;
use jobs_lm::batch::PackedBatch;
use jobs_lm::decoder::{Decoder, UnknownToken};
use jobs_lm::params::WeightGrads;
use jobs_lora::{AdamW, Moments};
use jobs_spec::memory::Recompute;
use rayon::prelude::*;

use crate::checkpoint::TrainState;
use crate::guard::{self, Fault};
use crate::parts::{PARTS, cut};
use crate::sample::{Sample, order};
use crate::schedule::Schedule;

/// How a [`FullTrainer`] trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FullConfig {
    /// The optimiser; its clip bounds the gradient of the whole model.
    pub optimizer: AdamW,
    /// How its learning rate changes.
    pub schedule: Schedule,
    /// Samples a step; the last step of an epoch may have fewer.
    pub batch: usize,
    /// Passes over the samples.
    pub epochs: usize,
    /// What the mean loss over a prompt counts beside that over its completion.
    pub prompt_weight: f32,
    /// Seed of the orders; `None` takes the samples as they come, which lets a corpus go from easy to hard.
    pub seed: Option<u64>,
}

/// One step of a [`FullTrainer`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FullStep {
    /// Steps done, this one included.
    pub step: u64,
    /// Steps in all.
    pub total: u64,
    /// Mean over the samples of their losses before the step.
    pub loss: f32,
    /// Norm of the gradient before clipping.
    pub norm: f64,
    /// Tokens of the step.
    pub tokens: usize,
}

/// Why a training of a whole model ends.
#[derive(Debug, thiserror::Error)]
pub enum FullError {
    /// There is nothing to train on.
    #[error("no sample, no epoch, or a batch of 0")]
    Empty,
    /// The state is not one of this training.
    #[error("cannot resume: {0}")]
    Resume(String),
    /// A number was not finite.
    #[error("step {0}: {1}")]
    NonFinite(u64, Fault),
    /// A sample has a token that the model lacks.
    #[error(transparent)]
    Token(#[from] UnknownToken),
}

/// A training under way. Equal models, samples and settings give equal bytes, also across a resume.
#[derive(Debug)]
pub struct FullTrainer {
    decoder: Decoder,
    config: FullConfig,
    samples: Vec<Sample>,
    values: Vec<f32>,
    moments: Moments,
    losses: Vec<f32>,
    order: Vec<usize>,
}

impl FullTrainer {
    /// A training that starts from the decoder's weights.
    ///
    /// # Errors
    /// When there is nothing to train on, or a sample has a token that the model lacks.
    pub fn new(decoder: Decoder, samples: Vec<Sample>, config: FullConfig) -> Result<Self, FullError> {
        if samples.is_empty() || config.epochs == 0 || config.batch == 0 {
            return Err(FullError::Empty);
        }
        for sample in &samples {
            decoder.check(&sample.prompt)?;
            decoder.check(&sample.completion)?;
        }
        let values = decoder.parameters().flat_map(|parameter| parameter.to_vec()).collect::<Vec<_>>();
        let moments = Moments::new(values.len());
        Ok(Self { decoder, config, samples, values, moments, losses: Vec::new(), order: Vec::new() })
    }

    /// Goes on behind the last step of a snapshot.
    ///
    /// # Errors
    /// When the snapshot is of another model, seed, or a step that this training does not have.
    pub fn resume(&mut self, state: TrainState) -> Result<(), FullError> {
        let refuse = |cause: String| Err(FullError::Resume(cause));
        if state.layout != self.layout() || state.values.len() != self.values.len() {
            return refuse("the checkpoint holds another model".into());
        }
        let seed = self.config.seed.unwrap_or_default();
        if state.seed != seed {
            return refuse(format!("the checkpoint has seed {}, expected {seed}", state.seed));
        }
        if state.steps() > self.total() {
            return refuse(format!("the checkpoint is at step {} of {}", state.steps(), self.total()));
        }
        let TrainState { values, moments, losses, .. } = state;
        (self.values, self.moments, self.losses) = (values, moments, losses);
        self.order.clear();
        self.install();
        Ok(())
    }

    /// The state between steps.
    pub fn snapshot(&self) -> TrainState {
        TrainState {
            layout: self.layout(),
            seed: self.config.seed.unwrap_or_default(),
            values: self.values.clone(),
            moments: self.moments.clone(),
            losses: self.losses.clone(),
        }
    }

    /// Steps from the start of the training to its end.
    pub fn total(&self) -> u64 {
        self.steps_an_epoch() * self.config.epochs as u64
    }

    /// The loss of every step so far.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// The model as trained so far.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The model as trained so far, and the end of the training.
    pub fn into_decoder(self) -> Decoder {
        self.decoder
    }

    /// One step; `None` when the training is done.
    ///
    /// # Errors
    /// When loss, gradient or a trained weight is not finite; then the decoder keeps the weights of the step before.
    pub fn step(&mut self) -> Result<Option<FullStep>, FullError> {
        let (step, total) = (self.moments.steps, self.total());
        if step >= total {
            return Ok(None);
        }
        self.turn(step);
        let batch = self.batch(step);
        let tokens = batch.iter().map(|sample| sample.tokens()).sum();
        let (losses, grads) = self.pass(&batch);
        let fault = |fault| FullError::NonFinite(step, fault);
        let loss = guard::loss(losses.iter().sum::<f32>() / losses.len() as f32).map_err(fault)?;
        let gradient = self.summed(&grads);
        let optimizer = &self.config.optimizer;
        let rate = optimizer.lr * self.config.schedule.factor(step, total);
        let norm = optimizer.step(rate, &mut self.values, &gradient, &mut self.moments);
        let norm = norm.map_err(|_| fault(Fault::Gradient))?;
        guard::parameters(&self.values).map_err(fault)?;
        self.losses.push(loss);
        self.install();
        Ok(Some(FullStep { step: step + 1, total, loss, norm, tokens }))
    }

    /// Draws the order of the epoch that a step belongs to, if it begins one.
    fn turn(&mut self, step: u64) {
        let (epoch, cursor) = (step / self.steps_an_epoch(), step % self.steps_an_epoch());
        if cursor == 0 || self.order.is_empty() {
            let count = self.samples.len();
            self.order =
                self.config.seed.map_or_else(|| (0..count).collect(), |seed| order(seed, epoch, count));
        }
    }

    /// The samples of a step.
    fn batch(&self, step: u64) -> Vec<&Sample> {
        let first = (step % self.steps_an_epoch()) as usize * self.config.batch;
        let chosen = self.order.iter().skip(first).take(self.config.batch);
        chosen.map(|&index| &self.samples[index]).collect()
    }

    /// The samples' losses, and the gradients of their mean by parts that run side by side.
    fn pass(&self, samples: &[&Sample]) -> (Vec<f32>, Vec<WeightGrads>) {
        let share = 1.0 / samples.len() as f32;
        let parts = cut(samples.iter().map(|sample| sample.tokens()), PARTS).into_par_iter().map(|part| {
            let mut batch = PackedBatch::learning_prompts(self.config.prompt_weight);
            for Sample { prompt, completion } in &samples[part] {
                batch.push(prompt, completion);
            }
            let (weights, mut grads) = (vec![share; batch.segments().len()], WeightGrads::new());
            let losses = self.decoder.train_pass_weighted(
                &batch,
                &weights,
                &mut NoAdapters,
                Some(&mut grads),
                Recompute::Nothing,
            );
            (losses, grads)
        });
        let (losses, grads): (Vec<_>, Vec<_>) = parts.collect::<Vec<_>>().into_iter().unzip();
        (losses.concat(), grads)
    }

    /// The sum of the parts' gradients, in the order of the parts, as flat as the values.
    fn summed(&self, parts: &[WeightGrads]) -> Vec<f32> {
        let mut sum = vec![0.0; self.values.len()];
        let mut rest = sum.as_mut_slice();
        let mut own = Vec::new();
        for parameter in self.decoder.parameters() {
            let (these, behind) = rest.split_at_mut(parameter.len());
            own.push((&parameter.name, these));
            rest = behind;
        }
        own.into_par_iter().for_each(|(name, sum)| parts.iter().for_each(|grads| grads.add_to(name, sum)));
        sum
    }

    fn steps_an_epoch(&self) -> u64 {
        self.samples.len().div_ceil(self.config.batch) as u64
    }

    /// Names and shapes of all weights, in order.
    fn layout(&self) -> String {
        let parameters = self.decoder.parameters().map(|p| format!("{} {:?}", p.name, p.shape));
        format!("a model of {}", parameters.collect::<Vec<_>>().join(", "))
    }

    /// Gives the decoder the trained numbers.
    fn install(&mut self) {
        let mut rest = self.values.as_slice();
        let mut own = Vec::new();
        for parameter in self.decoder.parameters_mut() {
            let (numbers, behind) = rest.split_at(parameter.len());
            own.push((parameter, numbers));
            rest = behind;
        }
        own.into_par_iter().for_each(|(parameter, numbers)| parameter.set(numbers.to_vec()));
    }
}
