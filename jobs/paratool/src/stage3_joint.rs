//! Stage 3: all adapters learn together under the frozen gate's weights.
//!
//! A trace's sample is the document-free prompt and its answer; its experts are the candidates' adapters, weighed by the gate's `α` for
//! the trace's question, so each projection computes `base(x) + Σ α_i Δ_i(x)`. The loss of a step is the mean over its traces; whoever
//! learns from a trace (every expert of weight above zero, or the called tool's alone) takes one AdamW step by its own clock, with moments
//! that last for the whole stage. Adapters that no trace of the step touches keep weights, moments and clock to the bit. Base model, gate
//! and encodings have no gradient.
//!
//! All adapters wait in host memory, found by tool key and never initialised anew: a tool that is first met as a distractor starts from
//! its own stage-1 adapter. A step puts only its own traces' experts into a bank. A candidate without an adapter adds nothing.

mod checkpoint;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use jobs_data::set::TrainingSet;
use jobs_data::trace::Trace;
use jobs_lm::batch::PackedBatch;
use jobs_lm::decoder::Decoder;
use jobs_lora::{
    AdamW, Adapter, AdapterShape, Bank, BankError, Gradients, Moments, RoutedBank, Routing, SlotId, peft,
};
use jobs_spec::job::FinetuneSpec;
use jobs_spec::manifest::{FinetuneOrder, Learners};
use jobs_spec::memory::Recompute;
use jobs_text::Chat;
use jobs_train::parts::{PARTS, cut};
use jobs_train::sample::{Sample, order};
use jobs_train::{guard, seed};
use rayon::prelude::*;
use serde::Serialize;

use crate::embed::{Embeddings, document};
use crate::gate::{Gate, Weigher};
use crate::samples::SampleBuilder;
use crate::stage1_pretrain::BASE_NAME;
use crate::{Checkpointing, Failure, Progress};

/// The usual token budget of one pass; a step of more tokens takes several and adds up their gradients. It is part of the result's last
/// bits.
pub const TOKENS_PER_PASS: usize = 4_096;
/// The folder of an artifact that holds one adapter folder per tool.
const TOOLS: &str = "tools";

/// What joint finetuning reads.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The settings.
    pub spec: &'a FinetuneSpec,
    /// The frozen base model.
    pub decoder: &'a Decoder,
    /// Its tokenizer and template.
    pub chat: &'a Chat,
    /// Tools and traces.
    pub set: &'a TrainingSet,
    /// The frozen gate.
    pub gate: &'a Gate,
    /// Vectors of the set's questions and documents.
    pub embeddings: &'a Embeddings,
    /// The shape of all adapters.
    pub shape: &'a Arc<AdapterShape>,
    /// The stage-1 adapters, in the order of the spec's tools.
    pub adapters: Vec<Adapter>,
    /// Token budget of one pass: [`TOKENS_PER_PASS`], or less where memory ran out with it.
    pub tokens_per_pass: usize,
}

/// Figures of a finished finetuning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FinetuneMetrics {
    /// Traces in one epoch.
    pub traces: usize,
    /// Traces left out for their length.
    pub dropped: usize,
    /// Traces left out because nobody can learn from them: no candidate, or not the called tool where only that one learns, has an adapter.
    pub untaught: usize,
    /// Adapters that learned.
    pub touched: usize,
    /// Steps.
    pub steps: usize,
    /// Tokens that this run computed.
    pub tokens: u64,
    /// Mean loss of each epoch's steps.
    pub epoch_losses: Vec<f64>,
}

/// The finetuned adapters of all tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Finetuned {
    tools: Vec<String>,
    adapters: Vec<Adapter>,
}

impl Finetuned {
    /// The adapter of a tool.
    pub fn adapter(&self, tool: &str) -> Option<&Adapter> {
        let index = self.tools.iter().position(|key| key == tool)?;
        self.adapters.get(index)
    }

    /// Writes every adapter as a PEFT folder `tools/<key>`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        let each = self.tools.iter().zip(&self.adapters);
        each.into_iter().try_for_each(|(tool, adapter)| {
            Ok(peft::export(adapter, BASE_NAME, &adapter_folder(folder, tool))?)
        })
    }
}

/// Where a finetuning's artifact holds a tool's adapter.
pub fn adapter_folder(artifact: &Path, tool: &str) -> std::path::PathBuf {
    artifact.join(TOOLS).join(tool)
}

/// Finetunes all adapters, from the start or from a checkpoint folder.
///
/// # Errors
/// When inputs do not fit together, a trace cannot become a sample, a loss or gradient is not finite, the checkpoint is not of this
/// training, or the run is stopped.
pub fn finetune(
    inputs: Inputs<'_>,
    resume: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<(Finetuned, FinetuneMetrics), Failure> {
    let lessons = Lessons::of(&inputs)?;
    let mut training = Training::new(inputs, &lessons)?;
    if let Some(folder) = resume {
        training.load(folder)?;
    }
    let total = training.total();
    let mut tokens = 0;
    while training.losses.len() < total {
        let batch = training.batch();
        let loss = training.step(&batch)?;
        tokens += batch.iter().map(|lesson| lesson.sample.tokens() as u64).sum::<u64>();
        training.losses.push(loss);
        let step = training.losses.len() as u64;
        progress.step(step, total as u64, tokens, Some(f64::from(loss)));
        if (step as usize) < total {
            progress.pause(step, |folder| training.save(folder))?;
        }
    }
    let metrics = training.metrics(tokens);
    let Training { inputs, .. } = training;
    Ok((Finetuned { tools: inputs.spec.tools.clone(), adapters: inputs.adapters }, metrics))
}

/// A trace ready to learn from.
struct Lesson {
    sample: Sample,
    /// The candidates that have an adapter, as indices of the spec's tools, each with its `α`.
    experts: Vec<(usize, f32)>,
    /// The called tool, if it has an adapter.
    gold: Option<usize>,
}

struct Lessons {
    lessons: Vec<Lesson>,
    dropped: usize,
    untaught: usize,
}

impl Lessons {
    fn of(inputs: &Inputs<'_>) -> Result<Self, Failure> {
        let (spec, set) = (inputs.spec, inputs.set);
        let builder = SampleBuilder::new(inputs.chat, &spec.prompt, &set.tools);
        let index =
            spec.tools.iter().enumerate().map(|(i, key)| (key.as_str(), i)).collect::<HashMap<_, _>>();
        let (vectors, weigher) = (Vectors::of(inputs)?, inputs.gate.on(inputs.decoder.device()));
        let (mut lessons, mut dropped, mut untaught) = (Vec::new(), 0, 0);
        for trace in &set.traces {
            let weights = vectors.weights(trace, inputs, &weigher)?;
            let weighed = trace.candidates.iter().zip(weights).filter(|(_, weight)| *weight > 0.0);
            let experts = weighed.filter_map(|(key, weight)| Some((*index.get(key.as_str())?, weight)));
            let experts = experts.collect::<Vec<_>>();
            let gold = index.get(trace.tool.as_str()).copied();
            let taught = match spec.finetune.learners {
                Learners::All => !experts.is_empty(),
                Learners::Gold => experts.iter().any(|(tool, _)| Some(*tool) == gold),
            };
            if !taught {
                untaught += 1;
                continue;
            }
            let Some(sample) = builder.sample(trace, false)? else {
                dropped += 1;
                continue;
            };
            for ids in [&sample.prompt, &sample.completion] {
                inputs.decoder.check(ids).map_err(Failure::data)?;
            }
            lessons.push(Lesson { sample, experts, gold });
        }
        Ok(Self { lessons, dropped, untaught })
    }
}

/// The gate's view of each tool.
struct Vectors<'a>(HashMap<&'a str, &'a [f32]>);

impl<'a> Vectors<'a> {
    fn of(inputs: &Inputs<'a>) -> Result<Self, Failure> {
        let vector = |tool: &'a jobs_data::tool::Tool| {
            let learned = inputs.gate.learned(&tool.key);
            let vector = learned.map_or_else(|| inputs.embeddings.vector(&document(tool)), Ok)?;
            Ok((tool.key.as_str(), vector))
        };
        inputs.set.tools.iter().map(vector).collect::<Result<_, Failure>>().map(Self)
    }

    fn weights(
        &self,
        trace: &Trace,
        inputs: &Inputs<'_>,
        weigher: &Weigher<'_>,
    ) -> Result<Vec<f32>, Failure> {
        let context = inputs.embeddings.vector(&trace.question)?;
        let vector = |key: &String| {
            let vector = self.0.get(key.as_str()).copied();
            vector.ok_or_else(|| Failure::Data(format!("candidate {key} is no known tool")))
        };
        let tools = trace.candidates.iter().map(vector).collect::<Result<Vec<_>, _>>()?;
        weigher.weights(context, &tools)
    }
}

/// An expert in a step's bank: the tool, and whether it learns there. Where only the called tool learns, an adapter may stand in the
/// bank twice, once to learn from its own traces and once to serve the others'.
type Role = (usize, bool);

/// A finetuning on its way.
struct Training<'a> {
    inputs: Inputs<'a>,
    lessons: &'a Lessons,
    optimizer: AdamW,
    /// Of the adapters that have learned.
    moments: BTreeMap<usize, Moments>,
    losses: Vec<f32>,
}

impl<'a> Training<'a> {
    fn new(inputs: Inputs<'a>, lessons: &'a Lessons) -> Result<Self, Failure> {
        let spec = inputs.spec;
        if inputs.adapters.len() != spec.tools.len() {
            let (got, expected) = (inputs.adapters.len(), spec.tools.len());
            return Err(Failure::Data(format!("{got} adapters for {expected} tools")));
        }
        let misfit =
            spec.tools.iter().zip(&inputs.adapters).find(|(_, adapter)| adapter.shape() != inputs.shape);
        if let Some((tool, adapter)) = misfit {
            let found = adapter.shape();
            return Err(Failure::Data(format!(
                "tool {tool}: its adapter is {found}, expected {}",
                inputs.shape
            )));
        }
        let settings = &spec.finetune;
        let optimizer = AdamW { lr: settings.lr, weight_decay: settings.weight_decay, ..AdamW::default() };
        Ok(Self { inputs, lessons, optimizer, moments: BTreeMap::new(), losses: Vec::new() })
    }

    fn steps_per_epoch(&self) -> usize {
        self.lessons.lessons.len().div_ceil(self.inputs.spec.finetune.batch.max(1))
    }

    fn total(&self) -> usize {
        self.steps_per_epoch() * self.inputs.spec.finetune.epochs
    }

    /// The traces of the next step.
    fn batch(&self) -> Vec<&'a Lesson> {
        let settings = &self.inputs.spec.finetune;
        let (epoch, step) =
            (self.losses.len() / self.steps_per_epoch(), self.losses.len() % self.steps_per_epoch());
        let lessons = &self.lessons.lessons;
        let order = match settings.order {
            FinetuneOrder::Records => (0..lessons.len()).collect(),
            FinetuneOrder::Shuffled => {
                let seed = seed::derive(&self.inputs.spec.seed.to_string(), "finetune order");
                order(seed, epoch as u64, lessons.len())
            }
        };
        let size = settings.batch.max(1);
        order.iter().skip(step * size).take(size).map(|i| &lessons[*i]).collect()
    }

    /// One step; returns the mean loss before it.
    fn step(&mut self, batch: &[&Lesson]) -> Result<f32, Failure> {
        let learners = self.inputs.spec.finetune.learners;
        let role = |lesson: &Lesson, tool: usize| -> Role {
            (tool, learners == Learners::All || lesson.gold == Some(tool))
        };
        let roles =
            batch.iter().flat_map(|lesson| lesson.experts.iter().map(|(tool, _)| role(lesson, *tool)));
        let roles = roles.collect::<BTreeSet<_>>();
        let mut bank = Bank::new(self.inputs.shape, self.inputs.decoder.device());
        let mut slots = BTreeMap::new();
        for (tool, learns) in roles {
            let adapter = self.inputs.adapters[tool].clone();
            slots.insert((tool, learns), bank.insert(adapter).map_err(|error| self.refused(tool, &error))?);
        }
        let mut gradients = Gradients::default();
        let mut sum = 0.0;
        for pass in passes(batch, self.inputs.tokens_per_pass) {
            let route = |lesson: &Lesson| {
                let experts = lesson.experts.iter();
                experts
                    .filter_map(|(tool, weight)| Some((*slots.get(&role(lesson, *tool))?, *weight)))
                    .collect()
            };
            sum += self.pass(&bank, pass, route, 1.0 / batch.len() as f32, &mut gradients)?;
        }
        let loss = guard::loss((sum / batch.len() as f64) as f32).map_err(|fault| {
            Failure::NonFinite(format!("finetuning, step {}: {fault}", self.losses.len()))
        })?;
        for ((tool, _), slot) in slots.into_iter().filter(|((_, learns), _)| *learns) {
            self.update(&mut bank, tool, slot, &gradients)?;
        }
        Ok(loss)
    }

    /// Forward and backward over some of a step's traces, each weighed by `share`, in parts that run side by side; returns the sum of
    /// their losses.
    fn pass(
        &self,
        bank: &Bank,
        lessons: &[&Lesson],
        route: impl Fn(&Lesson) -> Vec<(SlotId, f32)> + Sync,
        share: f32,
        gradients: &mut Gradients,
    ) -> Result<f64, Failure> {
        let parts = cut(lessons.iter().map(|lesson| lesson.sample.tokens()), PARTS);
        let parts = parts.into_par_iter().map(|part| self.part(bank, &lessons[part], &route, share));
        let mut sum = 0.0;
        for (loss, own) in parts.collect::<Result<Vec<_>, _>>()? {
            sum += loss;
            gradients.merge(own);
        }
        Ok(sum)
    }

    fn part(
        &self,
        bank: &Bank,
        lessons: &[&Lesson],
        route: impl Fn(&Lesson) -> Vec<(SlotId, f32)>,
        share: f32,
    ) -> Result<(f64, Gradients), Failure> {
        let (mut packed, mut routing) = (PackedBatch::new(), Routing::new());
        for lesson in lessons {
            let start = packed.tokens();
            packed.push(&lesson.sample.prompt, &lesson.sample.completion);
            routing.push(start..packed.tokens(), route(lesson));
        }
        let mut routed = RoutedBank::new(bank, &routing).map_err(Failure::data)?;
        let shares = vec![share; lessons.len()];
        let losses =
            self.inputs.decoder.train_pass_weighted(&packed, &shares, &mut routed, None, Recompute::Nothing);
        Ok((losses.into_iter().map(f64::from).sum(), routed.into_gradients()))
    }

    fn update(
        &mut self,
        bank: &mut Bank,
        tool: usize,
        slot: SlotId,
        gradients: &Gradients,
    ) -> Result<(), Failure> {
        let parameters = self.inputs.shape.parameters();
        let moments = self.moments.entry(tool).or_insert_with(|| Moments::new(parameters));
        let stepped = bank.step(slot, &self.optimizer, self.optimizer.lr, gradients, moments).map(|_| ());
        let adapter = stepped.and_then(|()| bank.take(slot)).map_err(|error| self.refused(tool, &error))?;
        self.inputs.adapters[tool] = adapter;
        Ok(())
    }

    fn refused(&self, tool: usize, error: &BankError) -> Failure {
        let tool = self.inputs.spec.tools.get(tool).map_or("", String::as_str);
        let message = format!("finetuning, step {}, tool {tool}: {error}", self.losses.len());
        match error {
            BankError::NonFinite(..) => Failure::NonFinite(message),
            BankError::Empty(_) | BankError::Shape => Failure::Data(message),
        }
    }

    fn metrics(&self, tokens: u64) -> FinetuneMetrics {
        let mean =
            |losses: &[f32]| losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len() as f64;
        FinetuneMetrics {
            traces: self.lessons.lessons.len(),
            dropped: self.lessons.dropped,
            untaught: self.lessons.untaught,
            touched: self.moments.len(),
            steps: self.losses.len(),
            tokens,
            epoch_losses: self.losses.chunks(self.steps_per_epoch().max(1)).map(mean).collect(),
        }
    }
}

/// A step's traces cut into passes within the token budget, at least one trace each.
fn passes<'l, 'a>(mut lessons: &'l [&'a Lesson], tokens_per_pass: usize) -> Vec<&'l [&'a Lesson]> {
    let mut passes = Vec::new();
    while !lessons.is_empty() {
        let mut tokens = 0;
        let fitting = lessons.iter().take_while(|lesson| {
            tokens += lesson.sample.tokens();
            tokens <= tokens_per_pass
        });
        let (pass, rest) = lessons.split_at(fitting.count().max(1));
        passes.push(pass);
        lessons = rest;
    }
    passes
}

#[cfg(test)]
mod tests;
