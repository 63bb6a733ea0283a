//! A cluster as operators run one: Postgres, an S3 server, two coordinators, four workers with their runners, each a process, with a way
//! between each two that can be cut. And the quiet counterpart: one coordinator on SQLite and a folder.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tests::{binary, s3};
use tokio::net::TcpListener;
use tokio::process::Command;
use worker_artifacts::Artifacts;

use crate::kept::Kept;
use crate::proxy::Proxy;

/// Coordinators.
const COORDINATORS: usize = 2;
/// Workers.
const WORKERS: usize = 4;
/// How long a worker's lease and a leader's reign live: short, so that a test sees many of their ends.
pub(crate) const TTL: Duration = Duration::from_secs(2);

/// A worker with the ways to its coordinators.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) process: Kept,
    pub(crate) ways: Vec<Proxy>,
}

/// A cluster that runs.
pub(crate) struct Cluster {
    pub(crate) coordinators: Vec<Kept>,
    pub(crate) workers: Vec<Worker>,
    /// The way of all coordinators to their table.
    pub(crate) to_table: Option<Proxy>,
    pub(crate) postgres: Option<Kept>,
    /// The way of everybody to the objects.
    pub(crate) to_store: Option<Proxy>,
    pub(crate) store: Option<Kept>,
    urls: String,
    environment: Vec<(String, String)>,
}

/// A free port of this machine.
async fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port()
}

/// A program of the workspace, with nothing of this process's settings.
fn program(name: &str, environment: &[(String, String)]) -> Command {
    let mut command = Command::new(binary(name));
    let own = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in own.filter(|name| name.starts_with("QUIVER_") || name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.envs(environment.iter().cloned());
    command
}

/// What coordinators and workers are told alike.
fn settings(walk: &str) -> Vec<(String, String)> {
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    [
        ("QUIVER_LEASE_TTL", millis(TTL)),
        ("QUIVER_LEADER_TTL", millis(TTL)),
        ("QUIVER_HEARTBEAT", millis(TTL / 8)),
        ("QUIVER_ACK_TIMEOUT", millis(TTL)),
        ("QUIVER_BACKOFF", "50ms".to_owned()),
        ("QUIVER_BACKOFF_CAP", "500ms".to_owned()),
        ("QUIVER_WORKER__CONNECT_TIMEOUT", "60s".to_owned()),
        ("QUIVER_WORKER__MIN_FREE_DISK", "0".to_owned()),
        ("QUIVER_LOG", "info".to_owned()),
        ("QUIVER_LOG_FORMAT", "compact".to_owned()),
        ("AWS_CONNECT_TIMEOUT", "1s".to_owned()),
        ("AWS_READ_TIMEOUT", "4s".to_owned()),
        ("SCRIPTED_WALK", walk.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

impl Cluster {
    /// One coordinator on SQLite and a folder, and one worker.
    pub(crate) async fn quiet(folder: &Path, walk: &str) -> Self {
        let environment = settings(walk);
        let port = free_port().await;
        let (dir, own) = (folder.join("data"), environment.clone());
        let coordinator = Kept::start("coordinator", folder.join("coordinator.log"), move || {
            let mut command = program("coordinator", &own);
            command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--dir"]).arg(&dir);
            command
        });
        let worker = Worker {
            process: worker(folder, "worker", &format!("http://127.0.0.1:{port}"), &environment),
            ways: vec![],
        };
        let urls = format!("http://127.0.0.1:{port}");
        Self {
            coordinators: vec![coordinator],
            workers: vec![worker],
            to_table: None,
            postgres: None,
            to_store: None,
            store: None,
            urls,
            environment,
        }
    }

    /// Everything.
    pub(crate) async fn full(folder: &Path, walk: &str) -> Self {
        let (postgres, to_table) = postgres(folder).await;
        let (store, to_store) = store(folder).await;
        let mut environment = settings(walk);
        environment.extend(s3::variables(to_store.port));
        let mut ports = Vec::new();
        let mut coordinators = Vec::new();
        for number in 0..COORDINATORS {
            let port = free_port().await;
            ports.push(port);
            let database = format!("postgres://quiver@127.0.0.1:{}/postgres?sslmode=disable", to_table.port);
            let (dir, own) = (folder.join(format!("coordinator{number}")), environment.clone());
            let log = folder.join(format!("coordinator{number}.log"));
            // Nobody listens there: workers must take the ways that can be cut.
            let address = format!("http://127.0.0.1:{}", number + 1);
            coordinators.push(Kept::start(format!("coordinator {number}"), log, move || {
                let mut command = program("coordinator", &own);
                command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--database", &database]);
                command.args(["--address", &address, "--store", "s3://quiver/chaos"]);
                command.arg("--dir").arg(&dir);
                command
            }));
        }
        let mut workers = Vec::new();
        for number in 0..WORKERS {
            let mut ways = Vec::new();
            for port in &ports {
                ways.push(Proxy::to(*port).await);
            }
            let process = worker(
                folder,
                &format!("worker{number}"),
                &urls(ways.iter().map(|way| way.port)),
                &environment,
            );
            workers.push(Worker { process, ways });
        }
        Self {
            coordinators,
            workers,
            to_table: Some(to_table),
            postgres: Some(postgres),
            to_store: Some(to_store),
            store: Some(store),
            urls: urls(ports.into_iter()),
            environment,
        }
    }

    /// Runs a command of the coordinator's program.
    pub(crate) async fn ask(&self, args: &[&str]) -> Output {
        let mut command = program("coordinator", &self.environment);
        command.args(args).args(["--coordinator", &self.urls]).output().await.unwrap()
    }

    /// Runs it until somebody answers, and gives standard output as JSON.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let mut last = String::new();
        for _ in 0..300 {
            let output = self.ask(&[args, &["--json"]].concat()).await;
            if output.status.success() {
                return serde_json::from_slice(&output.stdout).unwrap();
            }
            last = String::from_utf8_lossy(&output.stderr).into_owned();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{args:?}: {last}");
    }

    /// The object store at the address that the coordinator names.
    pub(crate) fn open(&self, url: &str) -> Artifacts {
        Artifacts::open_with(url, &self.environment).unwrap()
    }

    /// How often each process was started.
    pub(crate) fn starts(&self) -> Vec<(String, u32)> {
        let workers = self.workers.iter().map(|worker| &worker.process);
        let processes = self.coordinators.iter().chain(workers).chain(&self.postgres).chain(&self.store);
        processes.map(|process| (process.name().to_owned(), process.starts())).collect()
    }

    /// Ends everything.
    pub(crate) async fn stop(&self) {
        let workers = self.workers.iter().map(|worker| worker.process.stop("TERM"));
        futures::future::join_all(workers).await;
        futures::future::join_all(self.coordinators.iter().map(|process| process.stop("TERM"))).await;
        if let Some(store) = &self.store {
            store.stop("KILL").await;
        }
        if let Some(postgres) = &self.postgres {
            postgres.stop("INT").await;
        }
    }
}

fn urls(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| format!("http://127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

fn worker(folder: &Path, name: &str, coordinators: &str, environment: &[(String, String)]) -> Kept {
    let (dir, own, coordinators) = (folder.join(name), environment.to_vec(), coordinators.to_owned());
    let (named, log) = (name.to_owned(), folder.join(format!("{name}.log")));
    Kept::start(name, log, move || {
        let mut command = program("worker", &own);
        command.args(["run", "--device", "cpu", "--name", &named, "--coordinator", &coordinators]);
        command.arg("--dir").arg(&dir).arg("--runner").arg(binary("examples/scripted_runner"));
        command
    })
}

/// An S3 server over a folder, and the way to it.
async fn store(folder: &Path) -> (Kept, Proxy) {
    let (objects, port) = (folder.join("objects"), free_port().await);
    let store = Kept::start("store", folder.join("store.log"), move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3"));
        command.arg(&objects).arg(port.to_string());
        command
    });
    (store, Proxy::to(port).await)
}

/// A Postgres of its own, and the way to it. It runs as the user that its package made where this process is root's.
async fn postgres(folder: &Path) -> (Kept, Proxy) {
    let (data, port, bin) = (folder.join("postgres"), free_port().await, postgres_programs());
    std::fs::create_dir(&data).unwrap();
    let user = postgres_user();
    if let Some((user, group)) = user {
        // The server's user must come through to its folder, also from a temporary one.
        for above in folder.ancestors().take(2) {
            std::fs::set_permissions(above, PermissionsExt::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::chown(&data, Some(user), Some(group)).unwrap();
    }
    let as_user = move |program: PathBuf, data: &Path| {
        let mut command = std::process::Command::new(program);
        if let Some((user, group)) = user {
            command.uid(user).gid(group);
        }
        command.current_dir("/").arg("-D").arg(data);
        command
    };
    let mut init = as_user(bin.join("initdb"), &data);
    init.args(["-U", "quiver", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
    let made = init.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = Kept::start("postgres", folder.join("postgres.log"), move || {
        let mut command = as_user(bin.join("postgres"), &data);
        command.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=200"]);
        Command::from(command)
    });
    (server, Proxy::to(port).await)
}

fn postgres_programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("Postgres (tests/run installs it)");
    let bins = versions.map(|version| version.unwrap().path().join("bin"));
    bins.filter(|bin| bin.join("initdb").is_file()).max().expect("initdb")
}

/// The user and group `postgres`, where this process is root's, as whom the server refuses to run.
fn postgres_user() -> Option<(u32, u32)> {
    let id = |args: &[&str]| -> Option<u32> {
        let output = std::process::Command::new("id").args(args).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    (id(&["-u"]) == Some(0)).then(|| id(&["-u", "postgres"]).zip(id(&["-g", "postgres"])))?
}
