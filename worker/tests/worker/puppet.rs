//! Runners in this process, played by the test: they take what they are told and say what the test wants.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use proto::id::{Attempt, JobId};
use proto::pipe::{FromRunner, Start, Task, ToRunner};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use worker::{Launch, Listener, Runner};

/// All runners of a worker with one device, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Puppets {
    play: Arc<Mutex<Play>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
pub(crate) struct Play {
    mouth: Option<mpsc::UnboundedSender<FromRunner>>,
    /// Runners that were started and ended so far.
    pub(crate) launched: usize,
    pub(crate) ended: usize,
    /// What they were told.
    pub(crate) commands: Vec<ToRunner>,
    /// Says nothing, not even that a job begins.
    hangs: bool,
}

impl Play {
    /// The jobs that were started, in that order.
    pub(crate) fn starts(&self) -> Vec<i64> {
        let starts = self.commands.iter().filter_map(|command| match command {
            ToRunner::Start(start) => Some(start.task.job.0),
            ToRunner::Stop { .. } | ToRunner::Checkpoint { .. } => None,
        });
        starts.collect()
    }

    pub(crate) fn is_asked_to_save(&self, job: i64) -> bool {
        self.commands.contains(&ToRunner::Checkpoint { task: task(job) })
    }

    pub(crate) fn is_stopped(&self, job: i64) -> bool {
        self.commands.contains(&ToRunner::Stop { task: task(job) })
    }
}

fn task(job: i64) -> Task {
    Task { job: JobId(job), attempt: Attempt(1) }
}

impl Puppets {
    /// Reads or changes the play.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Play) -> T) -> T {
        let value = change(&mut self.play.lock().unwrap());
        self.changed.notify_waiters();
        value
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Play) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if self.with_quietly(&so) {
                    return;
                }
                changed.await;
            }
        };
        if timeout(Duration::from_secs(20), wait).await.is_err() {
            panic!("{what} did not happen; the play is {:#?}", self.play.lock().unwrap());
        }
    }

    fn with_quietly<T>(&self, look: impl FnOnce(&Play) -> T) -> T {
        look(&self.play.lock().unwrap())
    }

    pub(crate) async fn started(&self, job: i64) {
        self.until("a start", |play| play.starts().contains(&job)).await;
    }

    pub(crate) fn say(&self, message: FromRunner) {
        self.with(|play| drop(play.mouth.as_ref().unwrap().send(message)));
    }

    pub(crate) fn progress(&self, job: i64, step: u64, total: u64) {
        self.say(FromRunner::Progress { task: task(job), step, total, tokens: step, loss: None });
    }

    /// Writes a checkpoint.
    pub(crate) fn save(&self, job: i64, step: u64) {
        let path = self.start_of(job).scratch.join(format!("checkpoint-{step}"));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("state"), step.to_string()).unwrap();
        self.say(FromRunner::Checkpoint { task: task(job), step, path });
    }

    /// Ends a job well.
    pub(crate) fn finish(&self, job: i64) {
        let output = self.start_of(job).scratch.join("output");
        std::fs::create_dir_all(&output).unwrap();
        std::fs::write(output.join("result"), job.to_string()).unwrap();
        let metrics = serde_json::json!({});
        self.say(FromRunner::Done { task: task(job), output, metrics, device_ms: 1 });
    }

    /// The runner dies.
    pub(crate) fn die(&self) {
        self.with(|play| play.mouth = None);
    }

    /// From now on the runner says nothing by itself.
    pub(crate) fn hang(&self, hangs: bool) {
        self.with(|play| play.hangs = hangs);
    }

    fn start_of(&self, job: i64) -> Start {
        let find = |play: &mut Play| {
            let starts = play.commands.iter().rev().filter_map(|command| match command {
                ToRunner::Start(start) => Some(start.clone()),
                ToRunner::Stop { .. } | ToRunner::Checkpoint { .. } => None,
            });
            starts.into_iter().find(|start| start.task.job.0 == job)
        };
        self.with(find).expect("a job that was started")
    }
}

impl Launch for Puppets {
    fn launch(&self, device: &str, _: Listener) -> io::Result<Box<dyn Runner>> {
        let (mouth, ear) = mpsc::unbounded_channel();
        let (device, kinds, version) = (device.to_owned(), Vec::new(), env!("CARGO_PKG_VERSION").to_owned());
        mouth.send(FromRunner::Hello { device, kinds, version }).unwrap();
        self.with(|play| {
            play.launched += 1;
            play.mouth = Some(mouth);
        });
        Ok(Box::new(Puppet { puppets: self.clone(), ear }))
    }
}

struct Puppet {
    puppets: Puppets,
    ear: mpsc::UnboundedReceiver<FromRunner>,
}

#[async_trait]
impl Runner for Puppet {
    async fn next(&mut self) -> Option<FromRunner> {
        self.ear.recv().await
    }

    fn send(&mut self, command: ToRunner) {
        self.puppets.with(|play| {
            if let (ToRunner::Start(start), Some(mouth), false) = (&command, &play.mouth, play.hangs) {
                drop(mouth.send(FromRunner::Started { task: start.task }));
            }
            play.commands.push(command);
        });
    }

    async fn end(self: Box<Self>) -> String {
        self.puppets.with(|play| play.ended += 1);
        "the puppet ended".to_owned()
    }
}
