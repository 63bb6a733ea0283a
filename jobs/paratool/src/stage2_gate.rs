//! Stage 2: the gate learns which candidate a question calls for.
//!
//! An example is a context vector, its candidates' vectors and the index of the tool that is called: a trace's own step, and each step
//! that its history shows. The network scores each (context, tool) pair, a softmax over the candidates gives `α`, and the loss is
//! `CE − λH(α)`: without the entropy bonus `α` would go to one candidate alone. λ is set by category and may be divided by the logarithm
//! of the number of candidates, because the weight that perfect separation leads to falls with that number ([`ceiling`]). A trace with one
//! candidate teaches nothing and is left out, unless tools drawn from the seed stand beside it.
//!
//! Mini-batches in an order drawn from the seed, AdamW at a constant rate. Learned tool vectors step without decay, each row by its own
//! clock and only when a batch touches it; other rows keep their bytes. A share of the traces, chosen by a hash of their content, is held
//! out; the epoch with the lowest cross-entropy on them is the result.

mod checkpoint;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use jobs_data::history;
use jobs_data::set::TrainingSet;
use jobs_data::trace::Trace;
use jobs_lora::{AdamW, Moments};
use jobs_spec::job::GateSpec;
use jobs_spec::key::digest_of;
use jobs_spec::manifest;
use jobs_train::{sample, seed};
use rand::SeedableRng;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::embed::{Embeddings, document};
use crate::gate::Gate;
use crate::objective::{Objective, ceiling, objective};
use crate::{Checkpointing, Failure, Progress};

/// Figures of one epoch, over the held-out traces (all traces where none is held out).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EpochMetrics {
    /// Mean loss over the epoch's training steps.
    pub train_loss: f32,
    /// Share of traces whose largest weight is the gold tool's.
    pub accuracy: f32,
    /// Mean `CE − λH`.
    pub loss: f32,
    /// Mean cross-entropy.
    pub cross_entropy: f32,
    /// Mean entropy.
    pub entropy: f32,
    /// Mean weight of the gold tool.
    pub gold_weight: f32,
    /// Mean weight that perfect separation would lead to.
    pub ceiling: f32,
}

impl EpochMetrics {
    const COUNT: usize = 7;

    /// The figures in the order of the fields.
    fn figures(self) -> [f32; Self::COUNT] {
        let Self { train_loss, accuracy, loss, cross_entropy, entropy, gold_weight, ceiling } = self;
        [train_loss, accuracy, loss, cross_entropy, entropy, gold_weight, ceiling]
    }

    /// What [`EpochMetrics::figures`] gave.
    fn of(
        [train_loss, accuracy, loss, cross_entropy, entropy, gold_weight, ceiling]: [f32; Self::COUNT],
    ) -> Self {
        Self { train_loss, accuracy, loss, cross_entropy, entropy, gold_weight, ceiling }
    }
}

/// Figures of a finished gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateMetrics {
    /// Examples that it learned from.
    pub trained: usize,
    /// Examples held out.
    pub held_out: usize,
    /// Traces left out because they have one candidate and nothing is drawn to stand beside it.
    pub single: usize,
    /// The epoch that is the result, from 0; `None` when there was nothing to learn.
    pub best_epoch: Option<usize>,
    /// Every epoch.
    pub epochs: Vec<EpochMetrics>,
}

/// Trains a gate, from the start or from a checkpoint folder.
///
/// # Errors
/// When a vector is missing, the checkpoint is not of this training, a loss is not finite, or the run is stopped.
pub fn train(
    spec: &GateSpec,
    embeddings: &Embeddings,
    set: &TrainingSet,
    device: &Device,
    resume: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<(Gate, GateMetrics), Failure> {
    let examples = Examples::of(spec, embeddings, set)?;
    let mut training = Training::new(spec, &examples, device);
    if let Some(folder) = resume {
        training.load(folder)?;
    }
    while training.history.len() < spec.gate.epochs && !examples.train.is_empty() {
        training.epoch(progress)?;
        progress.pause(training.moments.steps, |folder| training.save(folder))?;
    }
    let best_epoch = training.best.as_ref().map(|(epoch, _)| *epoch);
    let metrics = GateMetrics {
        trained: examples.train.len(),
        held_out: examples.held_out.len(),
        single: examples.single,
        best_epoch,
        epochs: training.history,
    };
    Ok((training.best.map_or(training.gate, |(_, gate)| gate), metrics))
}

/// Whether a trace belongs to the held-out share: by its content alone, so every stage and seed agrees.
pub fn held_out(trace: &Trace, share: f64) -> bool {
    let content =
        serde_json::json!([trace.category, trace.tool, trace.question, trace.candidates, trace.answer]);
    let digest = digest_of(content.to_string().as_bytes());
    let number = digest.as_bytes().iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte));
    (number as f64) < share * 2f64.powi(64)
}

/// The steps of all traces as the network sees them.
struct Examples<'a> {
    dimension: usize,
    keys: Vec<String>,
    /// Encoded documents, in the order of `keys`.
    documents: Vec<&'a [f32]>,
    train: Vec<Example<'a>>,
    held_out: Vec<Example<'a>>,
    single: usize,
}

struct Example<'a> {
    context: &'a [f32],
    /// Indices of the candidates among the tools.
    tools: Vec<usize>,
    /// Index of the called tool among the candidates.
    gold: usize,
    lambda: f64,
}

impl<'a> Examples<'a> {
    fn of(spec: &GateSpec, embeddings: &'a Embeddings, set: &TrainingSet) -> Result<Self, Failure> {
        let settings = &spec.gate;
        let documents = set.tools.iter().map(|tool| embeddings.vector(&document(tool)));
        let documents = documents.collect::<Result<Vec<_>, _>>()?;
        let keys = set.tools.iter().map(|tool| tool.key.clone()).collect::<Vec<_>>();
        let index = keys.iter().enumerate().map(|(i, key)| (key.as_str(), i)).collect::<BTreeMap<_, _>>();
        let (mut train, mut held, mut single) = (Vec::new(), Vec::new(), 0);
        for (i, trace) in set.traces.iter().enumerate() {
            let mut tools = trace
                .candidates
                .iter()
                .filter_map(|key| index.get(key.as_str()).copied())
                .collect::<Vec<_>>();
            let gold = trace.candidates.iter().position(|key| *key == trace.tool);
            let Some(gold) = gold.filter(|_| tools.len() == trace.candidates.len()) else {
                return Err(Failure::Data(format!(
                    "tool {}: a trace names an unknown candidate",
                    trace.tool
                )));
            };
            if let [own] = tools[..] {
                let seed = seed::derive(&spec.seed.to_string(), &format!("gate distractors {i}"));
                // Another tool of the same name may answer as well.
                let others = (0..keys.len()).filter(|tool| set.tools[*tool].name != set.tools[own].name);
                tools.extend(others.sample(&mut ChaCha8Rng::seed_from_u64(seed), settings.distractors));
            }
            if tools.len() < 2 {
                single += 1;
                continue;
            }
            let lambda = lambda(settings, trace, tools.len());
            let part = if held_out(trace, settings.held_out) { &mut held } else { &mut train };
            for (question, call) in history::earlier(&trace.question) {
                if let Some(gold) = tools.iter().position(|&tool| set.tools[tool].name == call.name) {
                    let context = embeddings.vector(&question)?;
                    part.push(Example { context, tools: tools.clone(), gold, lambda });
                }
            }
            let context = embeddings.vector(&trace.question)?;
            part.push(Example { context, tools, gold, lambda });
        }
        Ok(Self { dimension: embeddings.dimension(), keys, documents, train, held_out: held, single })
    }

    /// The traces that an epoch is judged by.
    fn judged(&self) -> &[Example<'a>] {
        if self.held_out.is_empty() { &self.train } else { &self.held_out }
    }
}

fn lambda(settings: &manifest::Gate, trace: &Trace, candidates: usize) -> f64 {
    let lambda = settings.lambda_by_category.get(&trace.category).copied().unwrap_or(settings.lambda);
    if settings.lambda_per_log_candidates { lambda / (candidates as f64).ln() } else { lambda }
}

/// A gate on its way.
struct Training<'a> {
    spec: &'a GateSpec,
    examples: &'a Examples<'a>,
    device: &'a Device,
    optimizer: AdamW,
    gate: Gate,
    moments: Moments,
    /// One per row of the learned table.
    row_moments: Vec<Moments>,
    history: Vec<EpochMetrics>,
    /// The epoch with the lowest cross-entropy so far, and the gate after it.
    best: Option<(usize, Gate)>,
}

impl<'a> Training<'a> {
    fn new(spec: &'a GateSpec, examples: &'a Examples<'a>, device: &'a Device) -> Self {
        let root = spec.seed.to_string();
        let seeds = ["gate network", "gate tools"].map(|name| seed::derive(&root, name));
        let settings = &spec.gate;
        let gate = Gate::new(
            examples.dimension,
            settings.hidden,
            settings.tool_vector,
            examples.keys.clone(),
            seeds,
        );
        let moments = Moments::new(gate.network().values().len());
        let rows = gate.table().map_or(0, |_| examples.keys.len());
        let row_moments = vec![Moments::new(examples.dimension); rows];
        let optimizer = AdamW { lr: settings.lr, ..AdamW::default() };
        Self {
            spec,
            examples,
            device,
            optimizer,
            gate,
            moments,
            row_moments,
            history: Vec::new(),
            best: None,
        }
    }

    fn epoch(&mut self, progress: &mut dyn Progress) -> Result<(), Failure> {
        let (examples, settings) = (self.examples, &self.spec.gate);
        let epoch = self.history.len();
        let seed = seed::derive(&self.spec.seed.to_string(), "gate order");
        let order = sample::order(seed, epoch as u64, examples.train.len());
        let batch = settings.batch.max(1);
        let total = (order.len().div_ceil(batch) * settings.epochs) as u64;
        let mut sum = 0.0;
        for chosen in order.chunks(batch) {
            let chosen = chosen.iter().map(|i| &examples.train[*i]).collect::<Vec<_>>();
            let loss = self.step(&chosen)?;
            sum += loss * chosen.len() as f64;
            progress.step(self.moments.steps, total, 0, Some(loss));
            if progress.should_stop() {
                return Err(Failure::Stopped);
            }
        }
        let metrics = self.judge(sum / order.len() as f64)?;
        let better = |(best, _): &(usize, Gate)| metrics.cross_entropy < self.history[*best].cross_entropy;
        if self.best.as_ref().is_none_or(better) {
            self.best = Some((epoch, self.gate.clone()));
        }
        self.history.push(metrics);
        Ok(())
    }

    /// One step over some traces; returns their mean loss.
    fn step(&mut self, batch: &[&Example<'_>]) -> Result<f64, Failure> {
        let pairs = self.pairs(batch);
        let network = self.gate.network().on(self.device);
        let (scores, saved) = network.forward(&pairs)?;
        let objectives = objectives(batch, &scores);
        let share = 1.0 / batch.len() as f64;
        let loss = objectives.iter().map(|objective| objective.loss * share).sum::<f64>();
        if !loss.is_finite() {
            return Err(Failure::NonFinite(format!(
                "gate, step {}: the loss is not finite",
                self.moments.steps
            )));
        }
        let d_scores = objectives.iter().flat_map(|o| o.gradient.iter().map(|g| (g * share) as f32));
        let d_scores = d_scores.collect::<Vec<_>>();
        let (gradient, d_tools) = network.backward(&pairs, saved, &d_scores)?;
        drop(pairs);
        let (optimizer, values) = (self.optimizer, self.gate.network_mut().values_mut());
        optimizer
            .step(optimizer.lr, values, &gradient, &mut self.moments)
            .map_err(|error| Failure::NonFinite(format!("gate, step {}: {error}", self.moments.steps)))?;
        self.step_rows(batch, &d_tools)?;
        Ok(loss)
    }

    /// Steps the learned rows that the batch touched.
    fn step_rows(&mut self, batch: &[&Example<'_>], d_tools: &[f32]) -> Result<(), Failure> {
        let Some(table) = self.gate.table_mut() else { return Ok(()) };
        let dimension = self.examples.dimension;
        let mut gradients = BTreeMap::<usize, Vec<f32>>::new();
        let rows = batch.iter().flat_map(|example| &example.tools);
        for (row, gradient) in rows.zip(d_tools.chunks(dimension)) {
            let sum = gradients.entry(*row).or_insert_with(|| vec![0.0; dimension]);
            sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
        }
        let optimizer = AdamW { weight_decay: 0.0, ..self.optimizer };
        let rows = table.values_mut().chunks_mut(dimension).zip(&mut self.row_moments).enumerate();
        for (row, (values, moments)) in rows {
            let Some(gradient) = gradients.get(&row) else { continue };
            optimizer
                .step(optimizer.lr, values, gradient, moments)
                .map_err(|error| Failure::NonFinite(format!("gate, tool {row}: {error}")))?;
        }
        Ok(())
    }

    fn judge(&self, train_loss: f64) -> Result<EpochMetrics, Failure> {
        let examples = self.examples.judged();
        let network = self.gate.network().on(self.device);
        let mut sums = [0.0f64; EpochMetrics::COUNT];
        sums[0] = train_loss * examples.len() as f64;
        for batch in examples.chunks(self.spec.gate.batch.max(1)) {
            let batch = batch.iter().collect::<Vec<_>>();
            let (scores, _) = network.forward(&self.pairs(&batch))?;
            for (example, objective) in batch.iter().zip(objectives(&batch, &scores)) {
                let gold = objective.weights[example.gold];
                let right = objective.weights.iter().all(|weight| *weight <= gold);
                let ceiling = ceiling(example.tools.len(), example.lambda);
                let Objective { loss, cross_entropy, entropy, .. } = objective;
                let figures = [0.0, f64::from(u8::from(right)), loss, cross_entropy, entropy, gold, ceiling];
                sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
            }
        }
        Ok(EpochMetrics::of(sums.map(|sum| (sum / examples.len() as f64) as f32)))
    }

    /// The (context, tool) pairs of some traces, one behind the other.
    fn pairs<'s>(&'s self, batch: &[&'s Example<'_>]) -> Vec<(&'s [f32], &'s [f32])> {
        let dimension = self.examples.dimension;
        let vector = |tool: usize| match self.gate.table() {
            Some(table) => &table.values()[tool * dimension..(tool + 1) * dimension],
            None => self.examples.documents[tool],
        };
        batch
            .iter()
            .flat_map(|example| example.tools.iter().map(move |tool| (example.context, vector(*tool))))
            .collect()
    }
}

/// The objectives of some traces from the scores of their pairs.
fn objectives(batch: &[&Example<'_>], scores: &[f32]) -> Vec<Objective> {
    let mut rest = scores;
    let one = |example: &&Example<'_>| {
        let (own, others) = rest.split_at(example.tools.len());
        rest = others;
        objective(own, example.gold, example.lambda)
    };
    batch.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
