//! A lane's fan: pretraining jobs in the slots of one [`Fan`], each with its own messages, checkpoints and end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs_data::set::TrainingSet;
use jobs_lora::AdapterShape;
use jobs_paratool::stage1_pretrain::{self, Pretraining};
use jobs_spec::job::{FanLimits, PretrainSpec, input};
use jobs_spec::memory::{Bytes, FanSizes, Recompute};
use jobs_text::Chat;
use jobs_train::checkpoint::TrainState;
use jobs_train::fan::{Fan, FanConfig, SlotEvent, TaskId};
use jobs_train::sample::Sample;
use proto::error::ErrorCode;
use proto::pipe::{FromRunner, Start, Task};

use crate::error::JobError;
use crate::lane::{self, Lane};
use crate::memory;
use crate::pipe::Pipe;

const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Pretraining jobs that share passes over one base.
pub(crate) struct FanLane {
    fan: Fan,
    base: PathBuf,
    shape: Arc<AdapterShape>,
    /// Token budget of a pass while memory has not run out.
    tokens_per_pass: usize,
    /// What the memory plan is made for.
    plan: Option<Plan>,
    active: HashMap<TaskId, Active>,
}

/// What decides a memory plan.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Plan {
    /// Tokens of the longest trace.
    longest: usize,
    /// Token budget of a pass.
    tokens_per_pass: usize,
}

/// One job in a slot.
struct Active {
    task: Task,
    /// How often memory ran out in its earlier attempts.
    halvings: u32,
    scratch: PathBuf,
    output: PathBuf,
    pretraining: Pretraining,
    tokens: u64,
    /// Its share of the passes, by tokens.
    device: Duration,
    told: Option<Instant>,
    saved: Instant,
}

impl FanLane {
    /// Puts a job into a slot, opening a fan first when the lane has none that fits and the one it has is empty.
    pub(crate) fn admit(
        lane_fan: &mut Option<Self>,
        lane: &mut Lane,
        start: &Start,
        spec: &PretrainSpec,
    ) -> Result<(), JobError> {
        let base = lane::input(start, input::BASE)?;
        let FanLimits { slots, tokens_per_pass } = limits(start)?;
        let decoder = lane.models.base(&base)?;
        let shape = stage1_pretrain::shape(decoder.config(), spec.rank, spec.alpha)?;
        let reusable = lane_fan.as_ref().is_some_and(|fan| fan.base == base && fan.shape == shape);
        if !reusable {
            if lane_fan.as_ref().is_some_and(|fan| !fan.is_empty()) {
                return Err(JobError::new(ErrorCode::Internal, "the lane runs another fan"));
            }
            let config = FanConfig { slots, tokens_per_pass, recompute: Recompute::Nothing };
            let fan = Fan::new(decoder, &shape, config);
            let active = HashMap::new();
            *lane_fan = Some(Self { fan, base, shape, tokens_per_pass, plan: None, active });
        }
        match lane_fan {
            Some(fan) => fan.put(start, spec, lane.memory),
            None => Err(JobError::new(ErrorCode::Internal, "no fan was opened")),
        }
    }

    fn put(&mut self, start: &Start, spec: &PretrainSpec, memory: Option<u64>) -> Result<(), JobError> {
        let traces = TrainingSet::read(&lane::input(start, input::TRACES)?).map_err(JobError::data)?;
        let chat = Chat::load(&self.base).map_err(JobError::data)?;
        let resume = start.resume.as_deref().map(TrainState::load).transpose().map_err(JobError::data)?;
        let id = id(start.task);
        let (slot_task, pretraining) =
            stage1_pretrain::task(id.clone(), spec, start.key, &traces, &chat, &self.shape, resume)?;
        let longest = slot_task.samples.iter().map(Sample::tokens).max().unwrap_or(0);
        self.make_room(longest, start.halvings, memory)?;
        let output = lane::output(start)?;
        self.fan.start(slot_task).map_err(JobError::data)?;
        self.active.insert(
            id,
            Active {
                task: start.task,
                halvings: start.halvings,
                scratch: start.scratch.clone(),
                output,
                pretraining,
                tokens: 0,
                device: Duration::ZERO,
                told: None,
                saved: Instant::now(),
            },
        );
        Ok(())
    }

    /// Sees to it that passes fit into the memory once a trace of this length can come, of a job for which memory ran out so often.
    fn make_room(&mut self, longest: usize, halvings: u32, memory: Option<u64>) -> Result<(), JobError> {
        let halvings = self.active.values().map(|active| active.halvings).fold(halvings, u32::max);
        let tokens_per_pass = halved(self.tokens_per_pass, halvings);
        let longest = self.plan.map_or(0, |plan| plan.longest).max(longest);
        let plan = Plan { longest, tokens_per_pass };
        if self.plan == Some(plan) {
            return Ok(());
        }
        let sizes = FanSizes { tokens_per_pass, ..self.fan.sizes(longest) };
        let fitting = memory::policy(&sizes, memory)
            .map_err(|error| JobError::new(ErrorCode::OutOfMemory, format!("stages.pretrain: {error}")))?;
        // A pass holds at least one trace: where halving it helps no more, it computes everything again.
        let policy = if halvings > 0 && tokens_per_pass < longest { Recompute::Layers } else { fitting };
        let (needed, available) = (Bytes(sizes.total(policy)), memory.map(|bytes| Bytes(bytes).to_string()));
        tracing::info!(
            slots = sizes.slots,
            pass_tokens = sizes.pass_tokens(),
            %needed,
            available,
            recompute = %policy,
            "memory plan"
        );
        self.plan = Some(plan);
        self.fan.set_tokens_per_pass(tokens_per_pass);
        self.fan.set_recompute(policy);
        Ok(())
    }

    /// Whether no job is in a slot.
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Drops a job.
    pub(crate) fn stop(&mut self, task: Task) {
        let id = id(task);
        if self.active.remove(&id).is_some()
            && let Err(error) = self.fan.cancel(&id)
        {
            tracing::error!(%error, "a stopped job was in no slot");
        }
    }

    /// Saves a job now.
    pub(crate) fn checkpoint(&mut self, task: Task, pipe: &Pipe) {
        let id = id(task);
        if let Some(active) = self.active.get_mut(&id)
            && let Err(error) = active.save(&self.fan, &id, pipe)
        {
            self.fail(&id, error, pipe);
        }
    }

    /// One pass, and everything that follows from it.
    pub(crate) fn pass(&mut self, pipe: &Pipe, checkpoint_every: Duration) {
        let began = Instant::now();
        let events = match self.fan.pass() {
            Ok(events) => events,
            Err(error) => {
                let error = error.to_string();
                for id in self.active.keys().cloned().collect::<Vec<_>>() {
                    self.fail(&id, JobError::new(ErrorCode::Internal, &error), pipe);
                }
                return;
            }
        };
        self.book(&events, began.elapsed());
        for event in events {
            match event {
                SlotEvent::Step { task, step, total, loss, .. } => {
                    self.tell(&task, step, total, loss, checkpoint_every, pipe);
                }
                SlotEvent::Finished { task, adapter, losses } => {
                    let Some(active) = self.active.remove(&task) else { continue };
                    match active.pretraining.export(&adapter, &losses, active.tokens, &active.output) {
                        Ok(metrics) => pipe.send(&FromRunner::Done {
                            task: active.task,
                            output: active.output,
                            metrics,
                            device_ms: active.device.as_millis() as u64,
                        }),
                        Err(error) => lane::report(pipe, active.task, error.into()),
                    }
                }
                SlotEvent::NonFinite { task, step, fault } => {
                    let message = format!("step {step}: {fault}");
                    self.fail(&task, JobError::new(ErrorCode::NonFinite, message), pipe);
                }
            }
        }
    }

    /// Splits the time of a pass among its jobs by tokens.
    fn book(&mut self, events: &[SlotEvent], spent: Duration) {
        let steps = events.iter().filter_map(|event| match event {
            SlotEvent::Step { task, tokens, .. } => Some((task, *tokens)),
            SlotEvent::Finished { .. } | SlotEvent::NonFinite { .. } => None,
        });
        let all: usize = steps.clone().map(|(_, tokens)| tokens).sum();
        for (task, tokens) in steps {
            if let Some(active) = self.active.get_mut(task) {
                active.tokens += tokens as u64;
                active.device += spent.mul_f64(tokens as f64 / all.max(1) as f64);
            }
        }
    }

    fn tell(
        &mut self,
        id: &TaskId,
        step: u64,
        total: u64,
        loss: f32,
        checkpoint_every: Duration,
        pipe: &Pipe,
    ) {
        let Some(active) = self.active.get_mut(id) else { return };
        if step == total {
            return;
        }
        if active.told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY) {
            active.told = Some(Instant::now());
            let (task, tokens, loss) = (active.task, active.tokens, Some(f64::from(loss)));
            pipe.send(&FromRunner::Progress { task, step, total, tokens, loss });
        }
        if active.saved.elapsed() >= checkpoint_every
            && let Err(error) = active.save(&self.fan, id, pipe)
        {
            self.fail(id, error, pipe);
        }
    }

    fn fail(&mut self, id: &TaskId, error: JobError, pipe: &Pipe) {
        if let Some(active) = self.active.remove(id) {
            if self.fan.tasks().any(|task| task == id)
                && let Err(error) = self.fan.cancel(id)
            {
                tracing::error!(%error, "a failed job kept its slot");
            }
            lane::report(pipe, active.task, error);
        }
    }
}

impl Active {
    fn save(&mut self, fan: &Fan, id: &TaskId, pipe: &Pipe) -> Result<(), JobError> {
        let state = fan.snapshot(id).map_err(|error| JobError::new(ErrorCode::Internal, error))?;
        let step = state.steps();
        let path = self.scratch.join(format!("checkpoint-{step}"));
        state.save(&path).map_err(JobError::storage)?;
        self.saved = Instant::now();
        pipe.send(&FromRunner::Checkpoint { task: self.task, step, path });
        Ok(())
    }
}

/// A token budget after memory ran out so often.
pub(crate) fn halved(tokens_per_pass: usize, halvings: u32) -> usize {
    tokens_per_pass.checked_shr(halvings).unwrap_or(0).max(1)
}

fn id(task: Task) -> TaskId {
    TaskId(format!("{}/{}", task.job, task.attempt))
}

fn limits(start: &Start) -> Result<FanLimits, JobError> {
    let value = start
        .fan_limits
        .clone()
        .ok_or_else(|| JobError::spec("a pretraining job comes without fan limits"))?;
    serde_json::from_value(value)
        .map_err(|error| JobError::spec(format!("the fan limits cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_halved_down_to_one_token() {
        assert_eq!([0, 1, 6, 12, 63, 64, u32::MAX].map(|n| halved(4_096, n)), [4_096, 2_048, 64, 1, 1, 1, 1]);
    }
}
