//! Runners of the simulation. They compute results that follow from key and inputs alone, save where they are, and die, fail or hang as
//! the weather says.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use proto::error::ErrorCode;
use proto::id::JobKey;
use proto::pipe::{FromRunner, Start, Task, ToRunner};
use rand::RngExt;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use worker::{Launch, Listener, Runner};

use crate::plan::{self, FILE};
use crate::world::World;

/// What a job that fails says.
const CODES: [ErrorCode; 4] =
    [ErrorCode::Storage, ErrorCode::OutOfMemory, ErrorCode::NonFinite, ErrorCode::Internal];

/// Starts the runners of a machine.
pub(crate) struct Runners {
    pub(crate) world: Arc<World>,
    pub(crate) host: String,
}

impl std::fmt::Debug for Runners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runners")
    }
}

impl Launch for Runners {
    fn launch(&self, device: &str, _listener: Listener) -> io::Result<Box<dyn Runner>> {
        let (say, hear) = mpsc::unbounded_channel();
        let (command, commands) = mpsc::unbounded_channel();
        let (device, version) = (device.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        drop(say.send(FromRunner::Hello { device, kinds: Vec::new(), version }));
        let process = Process { world: Arc::clone(&self.world), host: self.host.clone(), say };
        let mut alive = JoinSet::new();
        alive.spawn(process.run(commands));
        Ok(Box::new(Pipe { hear, command, _alive: alive }))
    }
}

/// The worker's end of a runner's pipe. The runner dies with it.
struct Pipe {
    hear: mpsc::UnboundedReceiver<FromRunner>,
    command: mpsc::UnboundedSender<ToRunner>,
    _alive: JoinSet<()>,
}

#[async_trait]
impl Runner for Pipe {
    async fn next(&mut self) -> Option<FromRunner> {
        self.hear.recv().await
    }

    fn send(&mut self, command: ToRunner) {
        drop(self.command.send(command));
    }

    async fn end(self: Box<Self>) -> String {
        "it ended".to_owned()
    }
}

/// A runner.
#[derive(Clone)]
struct Process {
    world: Arc<World>,
    host: String,
    say: mpsc::UnboundedSender<FromRunner>,
}

/// How a job in a runner went.
enum End {
    /// It is over.
    Over(Task),
    /// It took the runner with it.
    Dies,
}

/// A job in a runner.
struct Job {
    key: JobKey,
    save: Arc<Notify>,
    work: AbortHandle,
}

impl Process {
    async fn run(self, mut commands: mpsc::UnboundedReceiver<ToRunner>) {
        let (mut jobs, mut work) = (BTreeMap::<Task, Job>::new(), JoinSet::new());
        loop {
            tokio::select! {
                biased;
                Some(end) = work.join_next() => match end {
                    Ok(End::Over(task)) => drop(jobs.remove(&task)),
                    Ok(End::Dies) => return self.world.note(&self.host, format_args!("a runner dies")),
                    Err(_stopped) => {}
                },
                command = commands.recv() => match command {
                    None => return,
                    Some(ToRunner::Start(start)) => {
                        self.check_company(&start, &jobs);
                        let (task, key, save) = (start.task, start.key, Arc::<Notify>::default());
                        let work = work.spawn(self.clone().compute(start, Arc::clone(&save)));
                        jobs.insert(task, Job { key, save, work });
                    }
                    Some(ToRunner::Stop { task }) => {
                        if let Some(job) = jobs.remove(&task) {
                            job.work.abort();
                        }
                    }
                    Some(ToRunner::Checkpoint { task }) => {
                        if let Some(job) = jobs.get(&task) {
                            job.save.notify_one();
                        }
                    }
                },
            }
        }
    }

    /// The jobs of one process share a fan, and a job without one is alone.
    fn check_company(&self, start: &Start, jobs: &BTreeMap<Task, Job>) {
        let fan = self.world.plan.fan_of(start.key);
        for (task, job) in jobs {
            if fan.is_none() || self.world.plan.fan_of(job.key) != fan {
                let broken = format!("{:?} starts beside {task:?}, which is of another fan", start.task);
                self.world.break_off(broken);
            }
        }
    }

    async fn compute(self, start: Start, save: Arc<Notify>) -> End {
        let task = start.task;
        match self.steps(&start, &save).await {
            Ok(end) => end,
            Err(error) => {
                self.fail(task, ErrorCode::Storage, &error.to_string());
                End::Over(task)
            }
        }
    }

    async fn steps(&self, start: &Start, save: &Notify) -> io::Result<End> {
        let Start { task, key, .. } = *start;
        self.world.note(
            &self.host,
            format_args!("{task:?} starts{}", if start.resume.is_some() { " again" } else { "" }),
        );
        drop(self.say.send(FromRunner::Started { task }));
        let (mut step, mut state) = begin(start)?;
        let total = plan::steps(key);
        while step < total {
            let takes = self.world.draw(|random| Duration::from_millis(random.random_range(100..4_000)));
            tokio::select! {
                biased;
                () = save.notified() => {
                    self.save(start, step, &state)?;
                    continue;
                }
                () = sleep(takes) => {}
            }
            self.world.thawed(&self.host).await;
            if self.world.happens(self.world.weather.runner) {
                match self.world.draw(|random| random.random_range(0..3)) {
                    0 => return Ok(End::Dies),
                    1 => {
                        let code = self.world.draw(|random| CODES[random.random_range(0..CODES.len())]);
                        self.fail(task, code, "as the weather says");
                        return Ok(End::Over(task));
                    }
                    _ => {
                        sleep(Duration::from_secs(self.world.draw(|random| random.random_range(10..120))))
                            .await
                    }
                }
            }
            (step, state) = (step + 1, plan::next(&state));
            drop(self.say.send(FromRunner::Progress { task, step, total, tokens: step, loss: Some(1.0) }));
            if step % 2 == 0 && step < total {
                self.save(start, step, &state)?;
            }
        }
        let output = start.scratch.join("output");
        write(&output, &state)?;
        self.world.note(&self.host, format_args!("{task:?} is done"));
        drop(self.say.send(FromRunner::Done { task, output, metrics: json!({}), device_ms: total }));
        Ok(End::Over(task))
    }

    fn fail(&self, task: Task, code: ErrorCode, message: &str) {
        self.world.note(&self.host, format_args!("{task:?} fails: {code}"));
        drop(self.say.send(FromRunner::Failed { task, code, message: message.to_owned() }));
    }

    fn save(&self, start: &Start, step: u64, state: &str) -> io::Result<()> {
        let number = self.world.draw(|random| random.random::<u32>());
        let path = start.scratch.join(format!("checkpoint-{step}-{number}"));
        write(&path, &json!({"step": step, "state": state}).to_string())?;
        drop(self.say.send(FromRunner::Checkpoint { task: start.task, step, path }));
        Ok(())
    }
}

/// Where a job begins: at its newest checkpoint, or before its first step.
fn begin(start: &Start) -> io::Result<(u64, String)> {
    if let Some(folder) = &start.resume {
        let saved: Value = serde_json::from_str(&read(folder)?)?;
        let (step, state) = (saved["step"].as_u64(), saved["state"].as_str());
        return step.zip(state.map(str::to_owned)).ok_or_else(|| io::Error::other("no checkpoint"));
    }
    let inputs = start.inputs.iter().map(|(name, folder)| Ok((name, read(folder)?)));
    Ok((0, plan::first(start.key, inputs.collect::<io::Result<_>>()?)))
}

fn read(folder: &Path) -> io::Result<String> {
    std::fs::read_to_string(folder.join(FILE))
}

fn write(folder: &Path, content: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(FILE), content)
}
