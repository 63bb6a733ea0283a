//! The fan: one lane trains the adapters of all its slots in shared passes over the frozen base model.
//!
//! A pass takes the next sample of as many slots as fit the token budget and packs them as segments. The base model, the bank and the
//! optimiser treat every segment by itself, so a task ends with the same bytes alone or in any company. Hence a pass may also be cut into
//! parts that run side by side, one per thread of the CPU.

mod task;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use jobs_lm::batch::PackedBatch;
use jobs_lm::decoder::{Decoder, UnknownToken};
use jobs_lm::device;
use jobs_lora::{
    AdamW, Adapter, AdapterShape, Bank, BankError, Gradients, Moments, RoutedBank, Routing, SlotId, Step,
};
use jobs_spec::memory::{FanSizes, Recompute};
use rayon::prelude::*;

pub use task::{SlotEvent, SlotTask, Start, TaskId};

use crate::checkpoint::TrainState;
use crate::guard::{self, Fault};
use crate::parts;
use crate::sample::{Sample, order};
use crate::schedule::Schedule;

/// How a lane runs its fan. It changes speed, never results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanConfig {
    /// Adapters trained together.
    pub slots: usize,
    /// Token budget of one pass. A longer sample has a pass of its own.
    pub tokens_per_pass: usize,
    /// What passes compute again to save memory.
    pub recompute: Recompute,
}

/// Why a fan refuses.
#[derive(Debug, thiserror::Error)]
pub enum FanError {
    /// Every slot is taken.
    #[error("task {0}: all {1} slots are taken")]
    Full(TaskId, usize),
    /// The task is already in a slot.
    #[error("task {0} is already in a slot")]
    Repeated(TaskId),
    /// The task is in no slot.
    #[error("task {0} is in no slot")]
    Unknown(TaskId),
    /// The task has nothing to train on.
    #[error("task {0}: {1}")]
    Samples(TaskId, &'static str),
    /// A sample has a token that the base model lacks.
    #[error("task {0}: {1}")]
    Token(TaskId, UnknownToken),
    /// The snapshot is not one of this task.
    #[error("task {0}: cannot resume: {1}")]
    Resume(TaskId, String),
    /// The adapter has another shape than the fan.
    #[error("task {0}: {1}")]
    Bank(TaskId, BankError),
}

/// A lane's slots and the tasks in them.
#[derive(Debug)]
pub struct Fan {
    decoder: Arc<Decoder>,
    config: FanConfig,
    bank: Bank,
    /// Longest-waiting first: the head of the queue is in every pass, so nobody starves.
    queue: VecDeque<Running>,
}

/// A task in its slot.
#[derive(Debug)]
struct Running {
    id: TaskId,
    samples: Vec<Sample>,
    seed: Option<u64>,
    optimizer: AdamW,
    schedule: Schedule,
    /// Steps from the start of the training to its end.
    total: u64,
    slot: SlotId,
    moments: Moments,
    losses: Vec<f32>,
    /// The order of the epoch under way.
    order: Vec<usize>,
}

/// What one pass did for a task.
struct Stepped {
    tokens: usize,
    loss: f32,
    /// The norm of the gradient, or what was not finite.
    norm: Result<f64, Fault>,
}

impl Running {
    fn sample(&self) -> &Sample {
        &self.samples[self.order[self.moments.steps as usize % self.samples.len()]]
    }

    /// Steps ahead.
    fn left(&self) -> u64 {
        self.total - self.moments.steps
    }

    /// Draws the order of the epoch that the next step belongs to, if it begins one.
    fn turn(&mut self) {
        let count = self.samples.len();
        let (epoch, cursor) = (self.moments.steps / count as u64, self.moments.steps % count as u64);
        if cursor == 0 || self.order.is_empty() {
            let given = || (0..count).collect();
            self.order = self.seed.map_or_else(given, |seed| order(seed, epoch, count));
        }
    }
}

impl Fan {
    /// A fan of empty slots for adapters of one shape.
    pub fn new(decoder: Arc<Decoder>, shape: &Arc<AdapterShape>, config: FanConfig) -> Self {
        let bank = Bank::new(shape, decoder.device());
        Self { decoder, config, bank, queue: VecDeque::new() }
    }

    /// What decides how much memory the fan takes when the longest trace has so many tokens.
    pub fn sizes(&self, longest: usize) -> FanSizes<'_> {
        FanSizes {
            model: self.decoder.config(),
            rank: self.bank.shape().rank(),
            slots: self.config.slots,
            tokens_per_pass: self.config.tokens_per_pass,
            longest,
            engine: device::engine(self.decoder.device()),
        }
    }

    /// Changes what passes compute again from now on.
    pub fn set_recompute(&mut self, recompute: Recompute) {
        self.config.recompute = recompute;
    }

    /// Changes the token budget of passes from now on.
    pub fn set_tokens_per_pass(&mut self, tokens: usize) {
        self.config.tokens_per_pass = tokens;
    }

    /// Slots that hold no task.
    pub fn free_slots(&self) -> usize {
        self.config.slots.saturating_sub(self.queue.len())
    }

    /// The tasks in the slots, longest-waiting first.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.queue.iter().map(|running| &running.id)
    }

    /// Puts a task into a free slot.
    ///
    /// # Errors
    /// When no slot is free, the task is there already, its samples are none, empty or not of the base model's vocabulary, or it starts
    /// from what does not fit.
    pub fn start(&mut self, task: SlotTask) -> Result<(), FanError> {
        let total = task.total();
        let SlotTask { id, samples, seed, optimizer, schedule, start, .. } = task;
        if self.position(&id).is_some() {
            return Err(FanError::Repeated(id));
        }
        if self.free_slots() == 0 {
            return Err(FanError::Full(id, self.config.slots));
        }
        if total == 0 {
            return Err(FanError::Samples(id, "no sample or no epoch"));
        }
        if samples.iter().any(|sample| sample.prompt.is_empty() || sample.completion.is_empty()) {
            return Err(FanError::Samples(id, "a sample without prompt or completion"));
        }
        for ids in samples.iter().flat_map(|sample| [&sample.prompt, &sample.completion]) {
            self.decoder.check(ids).map_err(|error| FanError::Token(id.clone(), error))?;
        }
        let (adapter, moments, losses) = match start {
            Start::Fresh(adapter) => {
                let parameters = adapter.values().len();
                (adapter, Moments::new(parameters), Vec::new())
            }
            Start::Resume(state) => self
                .resumed(seed.unwrap_or_default(), total, state)
                .map_err(|cause| FanError::Resume(id.clone(), cause))?,
        };
        let slot = self.bank.insert(adapter).map_err(|error| FanError::Bank(id.clone(), error))?;
        let order = Vec::new();
        let mut running =
            Running { id, samples, seed, optimizer, schedule, total, slot, moments, losses, order };
        running.turn();
        self.queue.push_back(running);
        Ok(())
    }

    /// One pass: a step of every task whose next sample fits the budget. No event means that no task is left.
    ///
    /// # Errors
    /// When a slot lost its adapter, which only a defect of the fan could cause.
    pub fn pass(&mut self) -> Result<Vec<SlotEvent>, FanError> {
        let mut chosen = self.choose();
        let tokens = chosen.iter().map(|running| running.sample().tokens()).collect::<Vec<_>>();
        let runs = parts::cut(tokens.iter().copied(), rayon::current_num_threads());
        let parts = runs.par_iter().map(|run| self.part(&chosen[run.clone()]));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let gradients = runs.iter().zip(&parts).flat_map(|(run, (_, g))| std::iter::repeat_n(g, run.len()));
        let losses = parts.iter().flat_map(|(losses, _)| losses).copied().collect::<Vec<_>>();
        let norms = self.update(&mut chosen, &losses, gradients)?;
        let mut events = Vec::new();
        for (((running, tokens), loss), norm) in chosen.into_iter().zip(tokens).zip(losses).zip(norms) {
            self.settle(running, Stepped { tokens, loss, norm }, &mut events)?;
        }
        Ok(events)
    }

    /// Steps the tasks of a pass; for each the norm of its gradient, or what was not finite.
    fn update<'a>(
        &mut self,
        chosen: &mut [Running],
        losses: &[f32],
        gradients: impl Iterator<Item = &'a Gradients>,
    ) -> Result<Vec<Result<f64, Fault>>, FanError> {
        let ids = chosen.iter().map(|running| running.id.clone()).collect::<Vec<_>>();
        let finite = losses.iter().map(|loss| guard::loss(*loss)).collect::<Vec<_>>();
        let sound = chosen.iter_mut().zip(gradients).zip(&finite).filter(|(_, loss)| loss.is_ok());
        let steps = sound.map(|((running, gradients), _)| {
            let Running { optimizer, schedule, total, slot, moments, .. } = running;
            let rate = optimizer.lr * schedule.factor(moments.steps, *total);
            Step { slot: *slot, optimizer: *optimizer, rate, gradients, moments }
        });
        let mut stepped = self.bank.steps(steps.collect()).into_iter();
        let outcomes = finite.into_iter().zip(ids).map(|(loss, id)| match loss.map(|_| stepped.next()) {
            Err(fault) => Ok(Err(fault)),
            Ok(Some(Ok(norm))) => Ok(Ok(norm)),
            Ok(Some(Err(BankError::NonFinite(..))) | None) => Ok(Err(Fault::Gradient)),
            Ok(Some(Err(error))) => Err(FanError::Bank(id, error)),
        });
        outcomes.collect()
    }

    /// Losses and gradients of some tasks' next samples.
    fn part(&self, tasks: &[Running]) -> Result<(Vec<f32>, Gradients), FanError> {
        let (mut batch, mut routing) = (PackedBatch::new(), Routing::new());
        for running in tasks {
            let Sample { prompt, completion } = running.sample();
            let start = batch.tokens();
            batch.push(prompt, completion);
            routing.push(start..batch.tokens(), vec![(running.slot, 1.0)]);
        }
        let Some(first) = tasks.first() else { return Ok((Vec::new(), Gradients::default())) };
        let routed = RoutedBank::new(&self.bank, &routing);
        let mut routed = routed.map_err(|error| FanError::Bank(first.id.clone(), error))?;
        let weights = vec![1.0; tasks.len()];
        let recompute = self.config.recompute;
        let losses = self.decoder.train_pass_weighted(&batch, &weights, &mut routed, None, recompute);
        Ok((losses, routed.into_gradients()))
    }

    /// The state of a task between passes.
    ///
    /// # Errors
    /// When the task is in no slot.
    pub fn snapshot(&self, task: &TaskId) -> Result<TrainState, FanError> {
        let running = self.position(task).and_then(|at| self.queue.get(at));
        let running = running.ok_or_else(|| FanError::Unknown(task.clone()))?;
        let adapter = self.bank.adapter(running.slot).map_err(|error| FanError::Bank(task.clone(), error))?;
        Ok(TrainState {
            layout: self.bank.shape().to_string(),
            seed: running.seed.unwrap_or_default(),
            values: adapter.values().to_vec(),
            moments: running.moments.clone(),
            losses: running.losses.clone(),
        })
    }

    /// Drops a task; its slot is free.
    ///
    /// # Errors
    /// When the task is in no slot.
    pub fn cancel(&mut self, task: &TaskId) -> Result<(), FanError> {
        let running = self.position(task).and_then(|at| self.queue.remove(at));
        let running = running.ok_or_else(|| FanError::Unknown(task.clone()))?;
        self.free(&running).map(|_| ())
    }

    /// Takes the tasks of the next pass out of the queue: its head, and whoever else fits, in queue order. While every slot is taken, the
    /// head is who waits longest; once slots stay free, nobody is left to come, and those with most steps ahead go first, so that all end
    /// at about the same time and the last passes are as full as can be.
    fn choose(&mut self) -> Vec<Running> {
        if self.free_slots() > 0 {
            self.queue.make_contiguous().sort_by_key(|running| Reverse(running.left()));
        }
        let mut left = self.config.tokens_per_pass;
        let (mut chosen, mut waiting) = (Vec::new(), VecDeque::new());
        for running in self.queue.drain(..) {
            let tokens = running.sample().tokens();
            if chosen.is_empty() || tokens <= left {
                left = left.saturating_sub(tokens);
                chosen.push(running);
            } else {
                waiting.push_back(running);
            }
        }
        self.queue = waiting;
        chosen
    }

    /// Reports a task's step, and puts the task back into the queue unless that was its end.
    fn settle(
        &mut self,
        mut running: Running,
        stepped: Stepped,
        events: &mut Vec<SlotEvent>,
    ) -> Result<(), FanError> {
        let Stepped { tokens, loss, norm } = stepped;
        let (task, step, total) = (running.id.clone(), running.moments.steps, running.total);
        let norm = match norm {
            Ok(norm) => norm,
            Err(fault) => {
                self.free(&running)?;
                events.push(SlotEvent::NonFinite { task, step, fault });
                return Ok(());
            }
        };
        running.losses.push(loss);
        events.push(SlotEvent::Step { task: task.clone(), step, total, loss, norm, tokens });
        if step < total {
            running.turn();
            self.queue.push_back(running);
            return Ok(());
        }
        let adapter = self.free(&running)?;
        events.push(match guard::parameters(adapter.values()) {
            Ok(()) => SlotEvent::Finished { task, adapter, losses: running.losses },
            Err(fault) => SlotEvent::NonFinite { task, step, fault },
        });
        Ok(())
    }

    /// What a snapshot holds, or why it is not one of this task.
    fn resumed(
        &self,
        seed: u64,
        total: u64,
        state: TrainState,
    ) -> Result<(Adapter, Moments, Vec<f32>), String> {
        let layout = self.bank.shape().to_string();
        if state.layout != layout {
            return Err(format!("the checkpoint holds {}, expected {layout}", state.layout));
        }
        if state.seed != seed {
            return Err(format!("the checkpoint has seed {}, expected {seed}", state.seed));
        }
        if state.steps() >= total {
            return Err(format!("the checkpoint is at step {} of {total}", state.steps()));
        }
        let adapter = Adapter::from_values(self.bank.shape(), state.values);
        let adapter = adapter.ok_or("the checkpoint's numbers do not fill the adapter")?;
        Ok((adapter, state.moments, state.losses))
    }

    fn free(&mut self, running: &Running) -> Result<Adapter, FanError> {
        self.bank.take(running.slot).map_err(|error| FanError::Bank(running.id.clone(), error))
    }

    fn position(&self, task: &TaskId) -> Option<usize> {
        self.queue.iter().position(|running| &running.id == task)
    }
}
