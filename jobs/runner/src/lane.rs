//! The lane: takes jobs from the worker and runs them on one device, either one alone or the slots of a fan together.
//!
//! The worker never sends more than fits: jobs of one fan while a fan runs, or one job of another kind while the lane is idle. A job that
//! ends frees its place by its last message, and the worker sends the next.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use jobs_spec::job::JobSpec;
use proto::pipe::{FromRunner, Start, Task, ToRunner};

use crate::error::JobError;
use crate::fan::FanLane;
use crate::kinds;
use crate::models::Models;
use crate::pipe::Pipe;

/// Progress messages are at least this far apart.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// One device and what runs on it.
pub(crate) struct Lane {
    pub(crate) pipe: Pipe,
    pub(crate) device: Device,
    pub(crate) models: Models,
    pub(crate) checkpoint_every: Duration,
    /// Bytes that the lane may use, where there is a limit.
    pub(crate) memory: Option<u64>,
    commands: Receiver<ToRunner>,
    /// Commands that came while a job ran alone and are for later.
    later: VecDeque<ToRunner>,
}

impl Lane {
    /// A lane that waits for its first command.
    pub(crate) fn new(
        device: Device,
        checkpoint_every: Duration,
        memory: Option<u64>,
        commands: Receiver<ToRunner>,
    ) -> Self {
        Self {
            pipe: Pipe::default(),
            models: Models::new(device.clone()),
            device,
            checkpoint_every,
            memory,
            commands,
            later: VecDeque::new(),
        }
    }

    /// Serves the worker until it hangs up.
    pub(crate) fn serve(&mut self) {
        let mut fan: Option<FanLane> = None;
        loop {
            let busy = fan.as_ref().is_some_and(|fan| !fan.is_empty());
            match self.next(busy) {
                Next::HungUp => return,
                Next::Nothing => {}
                Next::Command(command) => self.obey(*command, &mut fan),
            }
            if let Some(fan) = fan.as_mut().filter(|fan| !fan.is_empty()) {
                fan.pass(&self.pipe, self.checkpoint_every);
            }
        }
    }

    fn next(&mut self, busy: bool) -> Next {
        let command = |command| Next::Command(Box::new(command));
        if let Some(later) = self.later.pop_front() {
            return command(later);
        }
        if !busy {
            return self.commands.recv().map_or(Next::HungUp, command);
        }
        match self.commands.try_recv() {
            Ok(new) => command(new),
            Err(TryRecvError::Empty) => Next::Nothing,
            Err(TryRecvError::Disconnected) => Next::HungUp,
        }
    }

    fn obey(&mut self, command: ToRunner, fan: &mut Option<FanLane>) {
        match command {
            ToRunner::Start(start) => self.start(start, fan),
            ToRunner::Stop { task } => {
                if let Some(fan) = fan {
                    fan.stop(task);
                }
            }
            ToRunner::Checkpoint { task } => {
                if let Some(fan) = fan {
                    fan.checkpoint(task, &self.pipe);
                }
            }
        }
    }

    fn start(&mut self, start: Start, fan: &mut Option<FanLane>) {
        let task = start.task;
        let span = tracing::info_span!("job", job = %task.job, attempt = %task.attempt);
        let _entered = span.enter();
        let ended = match serde_json::from_value::<JobSpec>(start.spec.clone()) {
            Err(error) => Some(Err(JobError::spec(format!("the job spec cannot be read: {error}")))),
            Ok(JobSpec::Pretrain(spec)) => match FanLane::admit(fan, self, &start, &spec) {
                Ok(()) => {
                    self.pipe.send(&FromRunner::Started { task });
                    None
                }
                Err(error) => Some(Err(error)),
            },
            Ok(spec) => {
                *fan = None;
                self.pipe.send(&FromRunner::Started { task });
                let began = Instant::now();
                let done = kinds::run(&spec, &mut Context::new(self, &start));
                Some(done.map(|metrics| (metrics, began.elapsed())))
            }
        };
        match ended {
            None => {}
            Some(Ok((metrics, spent))) => self.pipe.send(&FromRunner::Done {
                task,
                output: start.scratch.join("output"),
                metrics,
                device_ms: spent.as_millis() as u64,
            }),
            Some(Err(error)) => report(&self.pipe, task, error),
        }
    }
}

/// Tells the worker why a job ended; a job that was stopped on its word ends in silence.
pub(crate) fn report(pipe: &Pipe, task: Task, error: JobError) {
    if let JobError::Failed { code, message } = error {
        tracing::warn!(%code, message, "job failed");
        pipe.send(&FromRunner::Failed { task, code, message });
    }
}

enum Next {
    Command(Box<ToRunner>),
    Nothing,
    HungUp,
}

/// What a job that runs alone may ask and tell.
pub(crate) struct Context<'a> {
    lane: &'a mut Lane,
    start: &'a Start,
    stopped: bool,
    checkpoint_asked: bool,
    told: Option<Instant>,
    saved: Instant,
}

impl<'a> Context<'a> {
    fn new(lane: &'a mut Lane, start: &'a Start) -> Self {
        Self { lane, start, stopped: false, checkpoint_asked: false, told: None, saved: Instant::now() }
    }

    /// The job as the worker sent it.
    pub(crate) fn start(&self) -> &'a Start {
        self.start
    }

    /// The folder of an input.
    pub(crate) fn input(&self, name: &str) -> Result<PathBuf, JobError> {
        input(self.start, name)
    }

    /// The folder that becomes the artifact.
    pub(crate) fn output(&self) -> Result<PathBuf, JobError> {
        output(self.start)
    }

    /// The device.
    pub(crate) fn device(&self) -> &Device {
        &self.lane.device
    }

    /// The models that the lane keeps loaded.
    pub(crate) fn models(&mut self) -> &mut Models {
        &mut self.lane.models
    }

    fn listen(&mut self) {
        while let Ok(command) = self.lane.commands.try_recv() {
            match command {
                ToRunner::Stop { task } if task == self.start.task => self.stopped = true,
                ToRunner::Checkpoint { task } if task == self.start.task => self.checkpoint_asked = true,
                other => self.lane.later.push_back(other),
            }
        }
    }
}

impl jobs_paratool::Progress for Context<'_> {
    fn step(&mut self, step: u64, total: u64, tokens: u64, loss: Option<f64>) {
        if step < total && self.told.is_some_and(|told| told.elapsed() < PROGRESS_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        self.lane.pipe.send(&FromRunner::Progress { task: self.start.task, step, total, tokens, loss });
    }

    fn should_stop(&mut self) -> bool {
        self.listen();
        self.stopped
    }

    fn checkpoint_due(&mut self) -> bool {
        self.listen();
        self.checkpoint_asked || self.saved.elapsed() >= self.lane.checkpoint_every
    }

    fn checkpoint_folder(&self, step: u64) -> PathBuf {
        self.start.scratch.join(format!("checkpoint-{step}"))
    }

    fn checkpointed(&mut self, step: u64, path: PathBuf) {
        self.checkpoint_asked = false;
        self.saved = Instant::now();
        self.lane.pipe.send(&FromRunner::Checkpoint { task: self.start.task, step, path });
    }
}

/// The folder of an input that the spec's kind always has.
pub(crate) fn input(start: &Start, name: &str) -> Result<PathBuf, JobError> {
    start.inputs.get(name).cloned().ok_or_else(|| JobError::spec(format!("the job has no input `{name}`")))
}

/// The folder that becomes the artifact, created empty.
pub(crate) fn output(start: &Start) -> Result<PathBuf, JobError> {
    let folder = start.scratch.join("output");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|e| JobError::storage(format!("{}: {e}", folder.display())))?;
    }
    std::fs::create_dir_all(&folder).map_err(|e| JobError::storage(format!("{}: {e}", folder.display())))?;
    Ok(folder)
}
