//! A world for the worker's tests: a folder, an object store, a coordinator in memory, and the real worker with a scripted runner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use proto_kit::clock::SystemClock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use worker::{Error, Exit, Fleet, Metrics, Settings, Worker};
use worker_artifacts::{ArtifactRef, Artifacts, Import, ImportFile, Source, hash_bytes};

use crate::fleet::{FakeFleet, Table};
use crate::puppet::Puppets;

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) artifacts: Artifacts,
    pub(crate) fleet: FakeFleet,
    pub(crate) runner: PathBuf,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(&folder.path().join("store").to_string_lossy()).unwrap();
        let fleet = FakeFleet::serve(artifacts.url()).await;
        let runner =
            Path::new(env!("CARGO_BIN_EXE_worker")).with_file_name("examples").join("scripted_runner");
        assert!(runner.is_file(), "{} is not built: run all tests of the package", runner.display());
        Self { folder, artifacts, fleet, runner }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Lets the jobs behind a gate go on.
    pub(crate) fn open(&self, gate: &str) {
        std::fs::write(self.path(gate), "").unwrap();
    }

    /// Puts an artifact with one file into the store.
    pub(crate) async fn import(&self, file: &str, content: &str) -> ArtifactRef {
        let source = Source::Bytes(content.to_owned().into());
        let import = Import::plan("input", vec![ImportFile { path: file.to_owned(), source }]).unwrap();
        self.artifacts.put_import(&import).await.unwrap()
    }

    /// The text of a file of a job's committed artifact.
    pub(crate) async fn result(&self, job: i64, file: &str) -> String {
        let find = |table: &mut Table| {
            let complete = table.completed.iter().find(|complete| complete.task.unwrap().job == job);
            complete.expect("a completed job").artifact.clone().unwrap()
        };
        let v1::Artifact { path, digest } = self.fleet.with(find);
        let artifact = ArtifactRef { path, digest: digest.parse().unwrap() };
        String::from_utf8(self.artifacts.read(&artifact, file).await.unwrap().to_vec()).unwrap()
    }

    /// A job for the table.
    pub(crate) fn offer(&self, job: i64, spec: Value) -> v1::Offer {
        v1::Offer {
            task: Some(v1::Task { job, attempt: 1 }),
            key: hash_bytes(&job.to_le_bytes()).digest.to_string(),
            kind: "scripted".to_owned(),
            label: format!("job {job}"),
            spec: spec.to_string(),
            role: "thing".to_owned(),
            ..v1::Offer::default()
        }
    }

    /// A job of a fan with two slots that waits for the gate of its own number.
    pub(crate) fn fan_offer(&self, job: i64, fan: &str) -> v1::Offer {
        let spec = json!({"do": "finish", "gate": self.path(&job.to_string())});
        v1::Offer {
            fan: fan.to_owned(),
            fan_limits: json!({"slots": 2}).to_string(),
            ..self.offer(job, spec)
        }
    }

    pub(crate) fn command(&self, device: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.args(["run", "--coordinator", &self.fleet.url(), "--device", device]);
        command.arg("--runner").arg(&self.runner).arg("--dir").arg(self.path("worker"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command.env("QUIVER_WORKER__MIN_FREE_DISK", "0");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUIVER_")) {
            command.env_remove(name);
        }
        command
    }

    /// Starts a worker in this process, with runners that the test plays.
    pub(crate) fn inside(&self, change: impl FnOnce(&mut Worker)) -> Inside {
        let url = self.fleet.url();
        let (puppets, metrics, exit) = (Puppets::default(), Arc::<Metrics>::default(), Exit::default());
        let settings = Settings {
            device: vec!["cpu".to_owned()],
            dir: self.path("worker"),
            coordinator: url.clone(),
            ..Settings::default()
        };
        let mut worker = Worker {
            settings,
            fleet: Fleet::connect(&url).unwrap(),
            launch: Arc::new(puppets.clone()),
            store: Arc::new(Artifacts::open),
            clock: Arc::new(SystemClock::default()),
            incarnation: "first".to_owned(),
            seed: 7,
            host: "here".to_owned(),
            free_space: Arc::new(|_| Ok(u64::MAX)),
            metrics: Arc::clone(&metrics),
        };
        change(&mut worker);
        let ended = tokio::spawn(worker.run(exit.clone()));
        Inside { puppets, metrics, exit, ended }
    }

    /// A worker in this process with job 1, which it computes, and job 2, which it holds ready.
    pub(crate) async fn busy(&self, change: impl FnOnce(&mut Worker)) -> Inside {
        self.fleet.with(|table| {
            table.prefetch = true;
            table.ready.push_back(self.offer(1, json!({})));
        });
        let inside = self.inside(change);
        self.fleet.until("a running job", |table| table.running() == [1].into()).await;
        self.fleet.with(|table| table.ready.push_back(self.offer(2, json!({}))));
        self.fleet.until("a waiting job", |table| table.waiting() == [2].into()).await;
        inside
    }

    pub(crate) fn worker(&self) -> Process {
        self.start(self.command("cpu").arg("--exit-with-parent"))
    }

    pub(crate) fn start(&self, command: &mut Command) -> Process {
        let log = self.path("worker.log");
        let file = File::create(&log).unwrap();
        Process { child: command.stdin(Stdio::piped()).stderr(file).spawn().unwrap(), log }
    }
}

/// A worker in this process.
pub(crate) struct Inside {
    pub(crate) puppets: Puppets,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) exit: Exit,
    pub(crate) ended: JoinHandle<Result<(), Error>>,
}

impl Inside {
    /// Waits for the end.
    pub(crate) async fn end(self) -> Result<(), Error> {
        timeout(Duration::from_secs(20), self.ended).await.expect("the worker ends").unwrap()
    }
}

/// A running worker. What it logged is shown when its test fails.
pub(crate) struct Process {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id().unwrap());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end; returns the exit code and the log.
    pub(crate) async fn end(&mut self) -> (i32, String) {
        let status =
            timeout(Duration::from_secs(30), self.child.wait()).await.expect("the worker ends").unwrap();
        (status.code().unwrap_or(-1), std::fs::read_to_string(&self.log).unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// Waits until a process is no more.
pub(crate) async fn gone(note: &Path) {
    let process = PathBuf::from("/proc").join(std::fs::read_to_string(note).unwrap());
    let wait = async {
        while process.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.expect("the runner ends");
}
