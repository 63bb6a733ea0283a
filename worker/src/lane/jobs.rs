//! The jobs in a lane, from offer to outbox.

use std::path::PathBuf;
use std::sync::Arc;

use proto::error::ErrorCode;
use proto::pipe::{FromRunner, Start, Task, ToRunner};
use proto::v1;
use proto_kit::offload::offload;
use proto_kit::telemetry::field;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{Event, Lane};
use crate::error::Error;
use crate::folder::remove;
use crate::node::Node;
use crate::offer::{Assignment, task_of};
use crate::outbox::{Failure, Finished, tolerant};

/// A job in the lane.
pub(super) struct Assigned {
    job: Arc<Assignment>,
    /// Cancelled when the coordinator drops the attempt.
    dropped: CancellationToken,
    /// Cancelled when the attempt leaves the lane: its checkpoints are worth nothing then.
    left: CancellationToken,
    stage: Stage,
    /// Whether a checkpoint is being saved.
    saving: bool,
    /// The checkpoint to save next; a newer one replaces it.
    unsaved: Option<(u64, PathBuf)>,
    span: Span,
}

enum Stage {
    /// Inputs are on their way.
    Preparing,
    /// Waits for a runner.
    Ready(Box<Start>),
    /// The runner has it.
    Running,
}

impl Lane {
    /// Takes an offered job in, or gives back what does not fit.
    pub(super) fn admit(&mut self, offer: v1::Offer) {
        let Some(task) = task_of(&offer) else {
            tracing::error!(label = offer.label, "an offer without a task");
            return;
        };
        let span = tracing::info_span!(
            "job",
            { field::JOB } = task.job.0,
            { field::ATTEMPT } = task.attempt.0,
            label = offer.label
        );
        let dropped = self.node.held.insert(task);
        let job = match Assignment::read(task, &offer) {
            Ok(job) => Arc::new(job),
            Err(error) => {
                let failure = Failure::new(ErrorCode::Spec, format!("the offer makes no sense: {error}"));
                return self.tell(task, dropped, span, failure);
            }
        };
        if self.tasks.is_empty() {
            self.fan.clone_from(&job.fan);
            self.slots = job.slots;
        } else if self.fan.is_empty() || self.fan != job.fan || self.tasks.len() >= self.slots {
            return self.tell(task, dropped, span, Failure::released("the lane has no room for it"));
        }
        span.in_scope(|| tracing::info!(sweep = offer.sweep, "job taken"));
        let (node, wanted) = (Arc::clone(&self.node), Arc::clone(&job));
        let (stage, saving, unsaved) = (Stage::Preparing, false, None);
        let left = dropped.child_token();
        let gone = left.clone();
        self.background.spawn(
            async move {
                let prepared = tokio::select! {
                    biased;
                    () = gone.cancelled() => Err(Failure::released("dropped")),
                    prepared = prepare(&node, &wanted) => prepared,
                };
                Event::Prepared(task, Box::new(prepared))
            }
            .instrument(span.clone()),
        );
        self.tasks.insert(task, Assigned { job, dropped, left, stage, saving, unsaved, span });
    }

    /// A job's inputs are there: the runner gets it as soon as there is one.
    pub(super) async fn prepared(&mut self, task: Task, prepared: Result<Start, Failure>) {
        let Some(assigned) = self.tasks.get_mut(&task) else { return };
        match prepared {
            Ok(start) => {
                assigned.stage = Stage::Ready(Box::new(start));
                self.feed().await;
            }
            Err(failure) => self.fail(task, failure),
        }
    }

    /// Hands the runner every job that is ready.
    async fn feed(&mut self) {
        let (Some(runner), Some(_)) = (&mut self.runner, &self.version) else { return };
        for assigned in self.tasks.values_mut() {
            if let Stage::Ready(start) = &assigned.stage {
                runner.send(ToRunner::Start((**start).clone()));
                assigned.stage = Stage::Running;
            }
        }
    }

    /// One message of the runner. Messages about attempts that have left the lane mean nothing.
    pub(super) async fn hear(&mut self, message: FromRunner) -> Result<(), Error> {
        match message {
            FromRunner::Hello { device, kinds: _, version } => {
                self.greet(&device, version)?;
                self.feed().await;
            }
            FromRunner::Started { task } => self.node.held.started(task),
            FromRunner::Progress { task, step, total, tokens, loss } => {
                self.node.held.progressed(task, v1::Progress { step, total, tokens, loss });
            }
            FromRunner::Checkpoint { task, step, path } => self.checkpoint(task, step, path),
            FromRunner::Done { task, output, metrics, device_ms } => {
                let runner = self.version.clone().unwrap_or_default();
                self.restarts.reset();
                self.commit(task, Finished { output, metrics, device_ms, runner });
            }
            FromRunner::Failed { task, code, message } => self.fail(task, Failure::new(code, message)),
        }
        Ok(())
    }

    fn checkpoint(&mut self, task: Task, step: u64, folder: PathBuf) {
        let Some(assigned) = self.tasks.get_mut(&task) else { return };
        if assigned.saving {
            if let Some((_, older)) = assigned.unsaved.replace((step, folder)) {
                self.background.spawn(async move {
                    remove(older).await;
                    Event::Ended
                });
            }
            return;
        }
        assigned.saving = true;
        let (node, job, left) = (Arc::clone(&self.node), Arc::clone(&assigned.job), assigned.left.clone());
        let runner = self.version.clone().unwrap_or_default();
        self.background.spawn(
            async move {
                tokio::select! {
                    biased;
                    () = left.cancelled() => {}
                    () = node.save(&job, runner, step, folder) => {}
                }
                Event::Saved(task)
            }
            .instrument(assigned.span.clone()),
        );
    }

    /// A checkpoint is saved: the next may follow.
    pub(super) fn saved(&mut self, task: Task) {
        let Some(assigned) = self.tasks.get_mut(&task) else { return };
        assigned.saving = false;
        if let Some((step, folder)) = assigned.unsaved.take() {
            self.checkpoint(task, step, folder);
        }
    }

    fn commit(&mut self, task: Task, finished: Finished) {
        let Some(Assigned { job, dropped, span, .. }) = self.take(task) else { return };
        let node = Arc::clone(&self.node);
        self.background.spawn(
            async move {
                node.commit(&job, &dropped, finished).await;
                Event::Ended
            }
            .instrument(span),
        );
    }

    fn fail(&mut self, task: Task, failure: Failure) {
        if let Some(Assigned { dropped, span, .. }) = self.take(task) {
            self.tell(task, dropped, span, failure);
        }
    }

    fn tell(&mut self, task: Task, dropped: CancellationToken, span: Span, failure: Failure) {
        let node = Arc::clone(&self.node);
        self.background.spawn(
            async move {
                node.fail(task, &dropped, failure).await;
                Event::Ended
            }
            .instrument(span),
        );
    }

    /// Takes a job out of the lane and so makes room.
    fn take(&mut self, task: Task) -> Option<Assigned> {
        let assigned = self.tasks.remove(&task)?;
        assigned.left.cancel();
        if self.tasks.is_empty() {
            self.fan.clear();
        }
        Some(assigned)
    }

    /// Fails every job that the runner had; jobs that wait for one go on waiting.
    pub(super) fn fail_running(&mut self, message: &str) {
        let running =
            |(task, assigned): (&Task, &Assigned)| matches!(assigned.stage, Stage::Running).then_some(*task);
        for task in self.tasks.iter().filter_map(running).collect::<Vec<_>>() {
            self.fail(task, Failure::new(ErrorCode::RunnerDied, message));
        }
    }

    /// Stops the jobs that the coordinator has dropped.
    pub(super) async fn drop_unwanted(&mut self) {
        let unwanted =
            |(task, assigned): (&Task, &Assigned)| assigned.dropped.is_cancelled().then_some(*task);
        for task in self.tasks.iter().filter_map(unwanted).collect::<Vec<_>>() {
            let Some(assigned) = self.take(task) else { continue };
            if let (Stage::Running, Some(runner)) = (&assigned.stage, &mut self.runner) {
                runner.send(ToRunner::Stop { task });
            }
            let folder = self.node.folder_of(task);
            self.background.spawn(async move {
                remove(folder).await;
                Event::Ended
            });
        }
    }

    /// The worker shuts down: the runner ends, unfinished jobs go back.
    pub(super) fn give_back(&mut self) {
        if let Some(runner) = self.runner.take() {
            self.background.spawn(async move {
                runner.end().await;
                Event::Ended
            });
        }
        for task in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.fail(task, Failure::released("the worker shuts down"));
        }
    }
}

/// Brings a job's inputs to the node. A checkpoint that cannot be read costs time, not the job.
async fn prepare(node: &Node, job: &Assignment) -> Result<Start, Failure> {
    let inputs = tolerant(node.seed, || node.inputs.folders(&job.inputs)).await?;
    let folder = node.folder_of(job.task);
    remove(folder.clone()).await;
    let scratch = folder.join("work");
    let wanted = scratch.clone();
    offload(move || std::fs::create_dir_all(wanted)).await.map_err(|error| {
        Failure::new(ErrorCode::Storage, format!("cannot create {}: {error}", scratch.display()))
    })?;
    let mut resume = None;
    if let Some(checkpoint) = &job.checkpoint {
        let into = folder.join("resume");
        match tolerant(node.seed, || node.inputs.checkpoint(checkpoint, &into)).await {
            Ok(()) => resume = Some(into),
            Err(error) => tracing::warn!(%error, "the job starts over: its checkpoint cannot be read"),
        }
    }
    let (key, spec, fan_limits) = (job.key, job.spec.clone(), job.fan_limits.clone());
    Ok(Start { task: job.task, key, spec, inputs, scratch, resume, fan_limits, halvings: job.halvings })
}
