//! What goes into a slot and what comes out of it.

use std::fmt;

use jobs_lora::{AdamW, Adapter};

use crate::checkpoint::TrainState;
use crate::guard::Fault;
use crate::sample::Sample;
use crate::schedule::Schedule;

/// Who a slot trains for; means nothing to the fan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub String);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One adapter's training. Nothing but the task itself decides its result.
#[derive(Clone, Debug)]
pub struct SlotTask {
    /// Whose it is; unique among the tasks in a fan.
    pub id: TaskId,
    /// The samples; one a step.
    pub samples: Vec<Sample>,
    /// Passes over the samples, each in an order of its own where there is a seed.
    pub epochs: usize,
    /// Seed of the orders; none: as given.
    pub seed: Option<u64>,
    /// The optimiser.
    pub optimizer: AdamW,
    /// How its learning rate changes.
    pub schedule: Schedule,
    /// Where it starts.
    pub start: Start,
}

impl SlotTask {
    /// Steps from the start of the training to its end.
    pub fn total(&self) -> u64 {
        self.samples.len() as u64 * self.epochs as u64
    }
}

/// Where a [`SlotTask`] starts.
#[derive(Clone, Debug)]
pub enum Start {
    /// At the first step, with this adapter.
    Fresh(Adapter),
    /// Behind the last step of a snapshot.
    Resume(TrainState),
}

/// What happened to a task in a pass.
#[derive(Clone, Debug, PartialEq)]
pub enum SlotEvent {
    /// It made a step.
    Step {
        /// The task.
        task: TaskId,
        /// Steps done, this one included.
        step: u64,
        /// Steps in all.
        total: u64,
        /// Loss before the step.
        loss: f32,
        /// Norm of its gradient.
        norm: f64,
        /// Tokens of the step's sample.
        tokens: usize,
    },
    /// It is done, and its slot free.
    Finished {
        /// The task.
        task: TaskId,
        /// The trained adapter.
        adapter: Adapter,
        /// The loss of every step.
        losses: Vec<f32>,
    },
    /// It alone failed, and its slot is free.
    NonFinite {
        /// The task.
        task: TaskId,
        /// The step that failed, from 0.
        step: u64,
        /// What was not finite.
        fault: Fault,
    },
}
