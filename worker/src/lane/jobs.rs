//! The jobs in a lane, from offer to outbox.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proto::error::ErrorCode;
use proto::pipe::{FromRunner, Start, Task, ToRunner};
use proto::v1;
use proto_kit::offload::offload;
use proto_kit::telemetry::field as names;
use proto_kit::trace;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field, info_span};

use super::pace::Pace;
use super::roster::{Seat, Standing};
use super::{Event, Lane};
use crate::error::Error;
use crate::folder::remove;
use crate::inputs::Folders;
use crate::node::Node;
use crate::offer::{Assignment, task_of};
use crate::outbox::{Failure, Finished, tolerant};

/// A job that goes on for longer keeps its slot for now: nothing is held ready for that.
const LONG: Duration = Duration::from_secs(120);

/// A job in the lane.
pub(super) struct Assigned {
    job: Arc<Assignment>,
    /// Cancelled when the coordinator drops the attempt.
    dropped: CancellationToken,
    /// Cancelled when the attempt leaves the lane: its checkpoints are worth nothing then.
    left: CancellationToken,
    pub(super) stage: Stage,
    /// Keeps the folders that it reads from.
    inputs: Option<Folders>,
    pub(super) pace: Pace,
    /// Whether a checkpoint is being saved.
    saving: bool,
    /// The checkpoint to save next; a newer one replaces it.
    unsaved: Option<(u64, PathBuf)>,
    span: Span,
    /// What the job's trace shows of the runner: that it starts the job, then that it runs it.
    phase: Span,
}

/// Where a job is.
pub(super) enum Stage {
    /// Inputs are on their way.
    Preparing,
    /// Waits for a slot.
    Ready(Box<Start>),
    /// The runner was told, and has not yet said that it begins.
    Sent(Box<Start>),
    /// The runner computes it.
    Running,
    /// The runner computes it until the checkpoint is written that the drain asked for.
    Leaving,
    /// The runner was told to stop it. Asked for by a drain, it goes back once its checkpoint is saved.
    Stopped,
}

impl Assigned {
    pub(super) fn task(&self) -> Task {
        self.job.task
    }

    /// Its seat in the roster.
    pub(super) fn seat(&self, now: Instant) -> Seat<'_> {
        let standing = match self.stage {
            Stage::Preparing => Standing::Preparing,
            Stage::Ready(_) => Standing::Ready,
            Stage::Sent(_) | Stage::Running | Stage::Leaving => {
                Standing::Computing { long: self.pace.remaining(now).is_some_and(|rest| rest > LONG) }
            }
            Stage::Stopped => Standing::Stopped,
        };
        Seat { fan: &self.job.fan, slots: self.job.slots, standing }
    }

    pub(super) fn is_computing(&self) -> bool {
        matches!(self.stage, Stage::Sent(_) | Stage::Running | Stage::Leaving)
    }

    /// Makes a job that is ready one that was sent; returns what to send.
    pub(super) fn hand_over(&mut self) -> Option<Start> {
        let Stage::Ready(start) = &self.stage else { return None };
        self.phase = info_span!(parent: &self.span, "start", otel.kind = field::Empty);
        let sent = (**start).clone();
        self.stage = Stage::Sent(start.clone());
        Some(sent)
    }
}

impl Lane {
    /// Takes an offered job in.
    pub(super) fn admit(&mut self, offer: v1::Offer) {
        let Some(task) = task_of(&offer) else {
            tracing::error!(label = offer.label, "an offer without a task");
            return;
        };
        let span = info_span!(
            "job",
            otel.kind = field::Empty,
            { names::JOB } = task.job.0,
            { names::ATTEMPT } = task.attempt.0,
            label = offer.label
        );
        trace::go_on(&span, &offer.traceparent);
        self.node.metrics.jobs_taken.inc();
        let dropped = self.node.held.insert(task);
        let job = match Assignment::read(task, &offer) {
            Ok(job) => Arc::new(job),
            Err(error) => {
                let failure = Failure::new(ErrorCode::Spec, format!("the offer makes no sense: {error}"));
                return self.tell(task, dropped, span, failure);
            }
        };
        span.in_scope(|| tracing::info!(sweep = offer.sweep, "job taken"));
        let (node, wanted) = (Arc::clone(&self.node), Arc::clone(&job));
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
            .instrument(info_span!(parent: &span, "fetch", otel.kind = field::Empty)),
        );
        let (stage, pace, saving, unsaved) = (Stage::Preparing, Pace::default(), false, None);
        let (inputs, phase) = (None, Span::none());
        self.jobs.push(Assigned { job, dropped, left, stage, inputs, pace, saving, unsaved, span, phase });
    }

    /// A job's inputs are there: it starts as soon as there is a slot.
    pub(super) fn prepared(&mut self, task: Task, prepared: Result<(Start, Folders), Failure>) {
        let Some(assigned) = self.find(task) else { return };
        match prepared {
            Ok((start, folders)) => {
                assigned.stage = Stage::Ready(Box::new(start));
                assigned.inputs = Some(folders);
            }
            Err(failure) => self.fail(task, failure),
        }
    }

    /// One message of the runner. Messages about attempts that have left the lane mean nothing.
    pub(super) fn hear(&mut self, message: FromRunner) -> Result<(), Error> {
        match message {
            FromRunner::Hello { device, kinds: _, version } => self.greet(&device, version)?,
            FromRunner::Started { task } => {
                if let Some(assigned) = self.heard_of(task) {
                    if matches!(assigned.stage, Stage::Sent(_)) {
                        assigned.stage = Stage::Running;
                    }
                    assigned.phase = info_span!(parent: &assigned.span, "run", otel.kind = field::Empty);
                    self.node.held.started(task);
                    self.node.metrics.jobs_started.inc();
                }
            }
            FromRunner::Progress { task, step, total, tokens, loss } => {
                if let Some(assigned) = self.heard_of(task) {
                    assigned.pace.note(Instant::now(), step, total);
                    self.node.held.progressed(task, v1::Progress { step, total, tokens, loss });
                }
            }
            FromRunner::Checkpoint { task, step, path } => {
                let Some(assigned) = self.heard_of(task) else { return Ok(()) };
                if matches!(assigned.stage, Stage::Leaving) {
                    // Steps after the checkpoint would be lost.
                    self.stop_in_runner(task);
                }
                self.checkpoint(task, step, path);
            }
            FromRunner::Done { task, output, metrics, device_ms } => {
                if self.heard_of(task).is_some() {
                    let runner = self.version.clone().unwrap_or_default();
                    self.restarts.reset();
                    self.commit(task, Finished { output, metrics, device_ms, runner });
                }
            }
            FromRunner::Failed { task, code, message } => {
                if self.heard_of(task).is_some() {
                    self.fail(task, Failure::new(code, message));
                }
            }
        }
        Ok(())
    }

    fn find(&mut self, task: Task) -> Option<&mut Assigned> {
        self.jobs.iter_mut().find(|assigned| assigned.task() == task)
    }

    /// The job of a message. A runner that talks of a job that it was not told to stop is alive.
    fn heard_of(&mut self, task: Task) -> Option<&mut Assigned> {
        if self.jobs.iter().any(|assigned| assigned.task() == task && assigned.is_computing()) {
            self.obey_by = None;
        }
        self.find(task)
    }

    fn checkpoint(&mut self, task: Task, step: u64, folder: PathBuf) {
        let (node, runner) = (Arc::clone(&self.node), self.version.clone().unwrap_or_default());
        let Some(assigned) = self.find(task) else { return };
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
        let (job, left, span) = (Arc::clone(&assigned.job), assigned.left.clone(), assigned.span.clone());
        self.background.spawn(
            async move {
                tokio::select! {
                    biased;
                    () = left.cancelled() => {}
                    () = node.save(&job, runner, step, folder) => {}
                }
                Event::Saved(task)
            }
            .instrument(info_span!(parent: &span, "checkpoint", otel.kind = field::Empty, step)),
        );
    }

    /// A checkpoint is saved: the next may follow, or the job goes back.
    pub(super) fn saved(&mut self, task: Task) {
        let Some(assigned) = self.find(task) else { return };
        assigned.saving = false;
        if let Some((step, folder)) = assigned.unsaved.take() {
            self.checkpoint(task, step, folder);
        } else if matches!(assigned.stage, Stage::Stopped) {
            self.fail(task, Failure::released("the worker drains; the job is saved"));
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

    pub(super) fn fail(&mut self, task: Task, failure: Failure) {
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
        let place = self.jobs.iter().position(|assigned| assigned.task() == task)?;
        let assigned = self.jobs.remove(place);
        assigned.left.cancel();
        let node = Arc::clone(&self.node);
        self.background.spawn(async move {
            node.logs.close(task).await;
            Event::Ended
        });
        if assigned.is_computing() && self.version.is_some() {
            self.freed.push_back(Instant::now());
        }
        Some(assigned)
    }

    /// Fails every job that the runner had.
    pub(super) fn fail_running(&mut self, message: &str) {
        for task in self.jobs.iter().filter(|job| job.is_computing()).map(Assigned::task).collect::<Vec<_>>()
        {
            self.fail(task, Failure::new(ErrorCode::RunnerDied, message));
        }
    }

    /// Stops the jobs that the coordinator has dropped.
    pub(super) fn drop_unwanted(&mut self) {
        let unwanted = self.jobs.iter().filter(|assigned| assigned.dropped.is_cancelled());
        for task in unwanted.map(Assigned::task).collect::<Vec<_>>() {
            self.stop_in_runner(task);
            self.take(task);
            let folder = self.node.folder_of(task);
            self.background.spawn(async move {
                remove(folder).await;
                Event::Ended
            });
        }
    }

    /// Tells the runner to stop a job, if it has it. From now on it must show that it listens.
    pub(super) fn stop_in_runner(&mut self, task: Task) {
        let timeout = self.node.stop_timeout;
        let Some(assigned) = self.find(task).filter(|assigned| assigned.is_computing()) else { return };
        assigned.stage = Stage::Stopped;
        if let Some(runner) = &mut self.runner {
            runner.send(ToRunner::Stop { task });
            self.obey_by.get_or_insert(Instant::now() + timeout);
            self.freed.push_back(Instant::now());
        }
    }
}

/// Brings a job's inputs to the node. A checkpoint that cannot be read costs time, not the job.
async fn prepare(node: &Node, job: &Assignment) -> Result<(Start, Folders), Failure> {
    let folders = tolerant(node.seed, || node.inputs.folders(&job.inputs)).await?;
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
    let (inputs, halvings) = (folders.paths(), job.halvings);
    Ok((Start { task: job.task, key, spec, inputs, scratch, resume, fan_limits, halvings }, folders))
}
