//! The protocol over real gRPC on loopback, with a real table and a clock that the test moves.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coordinator::loops::{ServeError, Serving, serve};
use coordinator::metrics::Metrics;
use coordinator::server::Settings;
use coordinator::server::planner::{PlanError, PlanRequest, Planned, Planner};
use coordinator_core::policy::Policy;
use coordinator_store::SqlStore;
use jobs_spec::job::{GateSpec, Input, JobSpec, PlannedJob};
use jobs_spec::manifest::Gate;
use proto::error::Reason;
use proto::id::{Digest, JobKey};
use proto::v1::fleet_client::FleetClient;
use proto::v1::operator_client::OperatorClient;
use proto::v1::{self, Task};
use proto_kit::clock::ManualClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use worker_artifacts::Artifacts;

/// Plans the jobs that a manifest names, one a line: `label` or `label needed-label …`.
struct LinePlanner;

#[tonic::async_trait]
impl Planner for LinePlanner {
    async fn plan(&self, request: PlanRequest) -> Result<Planned, PlanError> {
        let mut jobs: Vec<PlannedJob> = Vec::new();
        let mut keys = BTreeMap::<String, JobKey>::new();
        for (seed, line) in request.manifest.lines().enumerate() {
            let mut words = line.split_whitespace().map(str::to_owned);
            let label =
                words.next().ok_or_else(|| PlanError::Invalid(format!("{}:{seed}: empty", request.file)))?;
            let inputs: BTreeMap<_, _> = words.map(|need| (need.clone(), Input::Job(keys[&need]))).collect();
            let spec = JobSpec::Gate(GateSpec { gate: Gate::default(), seed: seed as u64 });
            let job = PlannedJob::new(spec, label.clone(), inputs, 10).unwrap();
            keys.insert(label, job.key);
            jobs.push(job);
        }
        Ok(Planned {
            name: request.file,
            manifest_digest: jobs_spec::key::digest_of(request.manifest.as_bytes()),
            stages: vec!["gate".into()],
            jobs,
            notes: vec!["counted".into()],
            imports: vec![],
        })
    }

    async fn import(&self, _: &Planned) -> Result<(), PlanError> {
        Ok(())
    }
}

/// A coordinator that serves, with clients.
struct World {
    address: SocketAddr,
    clock: ManualClock,
    fleet: FleetClient<Channel>,
    operator: OperatorClient<Channel>,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl World {
    async fn start(database: &Path) -> Self {
        let policy = Policy { backoff: Duration::from_millis(1), ..Policy::default() };
        let metrics = Arc::<Metrics>::default();
        let store =
            Arc::new(SqlStore::sqlite(database, policy).await.unwrap().observed(Arc::clone(&metrics) as _));
        let clock = ManualClock::new(1_700_000_000_000_000);
        let tick = Duration::from_millis(10);
        let serving = Serving {
            store,
            planner: Arc::new(LinePlanner),
            artifacts: Artifacts::open(&database.with_extension("store").to_string_lossy()).unwrap(),
            clock: Arc::new(clock.clone()),
            settings: Settings { policy, tick, progress_flush: tick, ..Settings::new("file:///store") },
            metrics,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(TcpIncoming::from(listener), serving, shutdown.clone()));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let (fleet, operator) = (FleetClient::new(channel.clone()), OperatorClient::new(channel));
        Self { address, clock, fleet, operator, shutdown, serving }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
    }

    /// What plain HTTP/1.1 answers.
    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn submit(&mut self, manifest: &str) -> v1::SubmitReply {
        let request =
            v1::PlanRequest { manifest: manifest.into(), file: "demo".into(), ..Default::default() };
        self.operator.submit(request).await.unwrap().into_inner()
    }

    async fn register(&mut self, name: &str, held: Vec<Task>) -> v1::RegisterReply {
        let request = v1::RegisterRequest {
            name: name.into(),
            incarnation: "1".into(),
            host: "here".into(),
            version: proto::version::OWN.into(),
            lanes: vec![v1::Lane { id: 0, device: "cpu".into() }],
            held,
            draining: false,
        };
        self.fleet.register(request).await.unwrap().into_inner()
    }

    async fn acquire(&mut self, worker: i64, wait: Duration) -> Vec<v1::Offer> {
        let wait_ms = wait.as_millis() as u64;
        let request =
            v1::AcquireRequest { term: 1, worker, lane: 0, free_slots: 4, wait_ms, ..Default::default() };
        self.fleet.acquire(request).await.unwrap().into_inner().offers
    }

    /// The next job, with patience for loops and wake-ups.
    async fn next_job(&mut self, worker: i64) -> v1::Offer {
        self.acquire(worker, Duration::from_secs(30)).await.remove(0)
    }

    async fn heartbeat(&mut self, worker: i64, task: Task, step: u64) -> Result<Vec<v1::Directive>, Status> {
        let progress = Some(v1::Progress { step, total: 10, tokens: step, loss: Some(1.5) });
        let held = vec![v1::Held { task: Some(task), running: true, progress }];
        let request = v1::HeartbeatRequest { term: 1, worker, held, ..Default::default() };
        Ok(self.fleet.heartbeat(request).await?.into_inner().directives)
    }

    async fn complete(&mut self, worker: i64, task: Task, byte: u8) -> Result<v1::Artifact, Status> {
        let digest = Digest::new([byte; 32]).to_string();
        let request = v1::CompleteRequest {
            term: 1,
            worker,
            task: Some(task),
            role: "gate".into(),
            artifact: Some(v1::Artifact { path: format!("manifests/{byte}"), digest }),
            bytes: 1,
            metrics: r#"{"variant": "soft", "category": "simple", "correct": 3, "total": 4}"#.into(),
            device_ms: 1_000,
            blobs: Vec::new(),
        };
        Ok(self.fleet.complete(request).await?.into_inner().artifact.unwrap())
    }

    async fn status(&mut self, sweep: i64) -> v1::Sweep {
        let request = v1::StatusRequest { sweep: sweep.to_string() };
        self.operator.status(request).await.unwrap().into_inner().sweeps.remove(0)
    }

    /// The status once a loop of the server has written down what a heartbeat brought.
    async fn status_with_progress(&mut self, sweep: i64) -> v1::Sweep {
        let written = async {
            loop {
                let status = self.status(sweep).await;
                if status.stages[0].loss.is_some() {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), written).await.unwrap()
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("jobs.db");
    (dir, database)
}

fn reason(refused: &Status) -> Option<Reason> {
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let reason = Reason::of(refused);
    assert!(refused.message().starts_with(reason.map_or("no reason", Reason::name)), "{refused}");
    reason
}

#[tokio::test]
async fn a_sweep_goes_from_submission_to_its_scores() {
    let (_dir, database) = folder();
    let mut world = World::start(&database).await;
    let reply = world.submit("first\nsecond first").await;
    let plan = reply.plan.unwrap();
    assert_eq!((plan.stages[0].jobs, plan.stages[0].fresh, plan.notes), (2, 2, vec!["counted".to_owned()]));
    let mut watched =
        world.operator.watch(v1::WatchRequest { sweep: reply.sweep }).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().state, "running");

    let session = world.register("w", vec![]).await;
    assert_eq!(
        (session.lease_ttl_ms, session.heartbeat_ms, session.store.as_str()),
        (28_000, 5_000, "file:///store")
    );
    let first = world.next_job(session.worker).await;
    assert_eq!((first.label.as_str(), first.role.as_str(), first.sweep.as_str()), ("first", "gate", "demo"));
    assert_eq!(world.acquire(session.worker, Duration::ZERO).await, [], "the second waits for the first");
    let task = first.task.unwrap();
    assert_eq!(world.heartbeat(session.worker, task, 5).await.unwrap(), []);
    let status = world.status_with_progress(reply.sweep).await;
    assert_eq!((status.stages[0].states["running"], status.stages[0].loss), (1, Some(1.5)));
    assert!((status.stages[0].done - 0.25).abs() < 1e-9, "half of one of two jobs");

    world.complete(session.worker, task, 7).await.unwrap();
    let status = world.status(reply.sweep).await;
    assert!(status.eta_low_s.unwrap() <= status.eta_high_s.unwrap());
    let second = world.next_job(session.worker).await;
    assert_eq!(second.inputs[0].artifact.as_ref().unwrap().path, "manifests/7");
    world.complete(session.worker, second.task.unwrap(), 8).await.unwrap();

    let mut last = None;
    while let Some(snapshot) = watched.message().await.unwrap() {
        last = Some(snapshot);
    }
    let last = last.unwrap();
    assert_eq!((last.state.as_str(), last.scores.len()), ("succeeded", 2));
    assert_eq!(
        (last.scores[0].variant.as_str(), last.scores[0].correct, last.scores[0].total),
        ("soft", 3, 4)
    );
    let names: Vec<_> = last
        .artifacts
        .keys()
        .map(String::as_str)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    assert_eq!(names, ["gate/first", "gate/second"]);
    let again = world.submit("first\nsecond first").await;
    assert_eq!((again.sweep, again.plan.unwrap().stages[0].cached), (reply.sweep, 2));
    world.stop().await;
}

#[tokio::test]
async fn a_lane_that_waits_is_woken_by_new_work() {
    let (_dir, database) = folder();
    let mut world = World::start(&database).await;
    let worker = world.register("w", vec![]).await.worker;
    let mut fleet = world.fleet.clone();
    let request =
        v1::AcquireRequest { term: 1, worker, free_slots: 1, wait_ms: 60_000, ..Default::default() };
    let waiting = tokio::spawn(async move { fleet.acquire(request).await.unwrap().into_inner().offers });
    world.submit("only").await;
    assert_eq!(waiting.await.unwrap()[0].label, "only");
    world.stop().await;
}

#[tokio::test]
async fn an_expired_attempt_is_given_away_and_fenced() {
    let (_dir, database) = folder();
    let mut world = World::start(&database).await;
    world.submit("only").await;
    let slow = world.register("slow", vec![]).await.worker;
    let old = world.next_job(slow).await.task.unwrap();
    world.heartbeat(slow, old, 1).await.unwrap();
    world.clock.advance(Duration::from_secs(31));
    let quick = world.register("quick", vec![]).await.worker;
    let new = world.next_job(quick).await.task.unwrap();
    assert_eq!(new, Task { job: old.job, attempt: 2 });
    let refused = world.complete(slow, old, 1).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::SessionLost));
    let back = world.register("slow", vec![old]).await;
    assert_eq!((back.keep, back.fenced), (vec![], vec![old]));
    let refused = world.complete(slow, old, 1).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::StaleAttempt));
    world.complete(quick, new, 2).await.unwrap();
    assert_eq!(world.complete(slow, old, 1).await.unwrap().path, "manifests/2", "the winner's");
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_job_is_stopped_and_can_be_retried() {
    let (_dir, database) = folder();
    let mut world = World::start(&database).await;
    let sweep = world.submit("only").await.sweep;
    let worker = world.register("w", vec![]).await.worker;
    let task = world.next_job(worker).await.task.unwrap();
    let select = v1::SelectRequest { sweep: "demo".into(), ..Default::default() };
    assert_eq!(world.operator.cancel(select.clone()).await.unwrap().into_inner().changed, 1);
    let directives = world.heartbeat(worker, task, 1).await.unwrap();
    assert_eq!((directives[0].task, directives[0].kind()), (Some(task), v1::directive::Kind::Stop));
    assert_eq!(world.status(sweep).await.state, "cancelled");
    assert_eq!(world.operator.retry(select).await.unwrap().into_inner().changed, 1);
    let task = world.next_job(worker).await.task.unwrap();
    assert_eq!(task.attempt, 2);
    let fail = v1::FailRequest {
        term: 1,
        worker,
        task: Some(task),
        code: "storage".into(),
        message: "disk full".into(),
        released: false,
    };
    world.fleet.fail(fail.clone()).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let task = world.next_job(worker).await.task.unwrap();
    world.fleet.fail(v1::FailRequest { task: Some(task), code: "data".into(), ..fail }).await.unwrap();
    let status = world.status(sweep).await;
    assert_eq!((status.state.as_str(), status.failures[0].code.as_str()), ("failed", "data"));
    let jobs = v1::JobsRequest { sweep: "demo".into(), state: "failed".into(), ..Default::default() };
    let jobs = world.operator.jobs(jobs).await.unwrap().into_inner();
    assert_eq!((jobs.matching, jobs.jobs[0].attempt, jobs.jobs[0].error.as_str()), (1, 3, "disk full"));
    world.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_the_table_and_takes_workers_back() {
    let (_dir, database) = folder();
    let mut world = World::start(&database).await;
    let sweep = world.submit("first\nsecond first").await.sweep;
    let worker = world.register("w", vec![]).await.worker;
    let task = world.next_job(worker).await.task.unwrap();
    world.heartbeat(worker, task, 4).await.unwrap();
    world.stop().await;

    let mut world = World::start(&database).await;
    let jobs = v1::JobsRequest { sweep: sweep.to_string(), ..Default::default() };
    let jobs = world.operator.jobs(jobs).await.unwrap().into_inner().jobs;
    assert_eq!(jobs[0].progress.unwrap().step, 4, "progress was written down on the way out");
    assert_eq!(world.heartbeat(worker, task, 5).await.unwrap(), [], "the session outlives the coordinator");
    let back = world.register("w", vec![task]).await;
    assert_eq!((back.worker, back.keep), (worker, vec![task]));
    let checkpoint = v1::CheckpointedRequest {
        term: 1,
        worker,
        task: Some(task),
        step: 5,
        artifact: Some(v1::Artifact {
            path: "checkpoints/5".into(),
            digest: Digest::new([5; 32]).to_string(),
        }),
        blobs: Vec::new(),
    };
    world.fleet.checkpointed(checkpoint).await.unwrap();
    world.complete(worker, task, 1).await.unwrap();
    let second = world.next_job(worker).await.task.unwrap();
    world.complete(worker, second, 2).await.unwrap();
    assert_eq!(world.status(sweep).await.state, "succeeded");
    world.stop().await;
}

#[tokio::test]
async fn messages_without_sense_are_refused_with_their_field() {
    let (_dir, database) = folder();
    let mut world = World::start(&database).await;
    let refused = world.fleet.register(v1::RegisterRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "name: empty"));
    let refused = world.fleet.complete(v1::CompleteRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "task: missing"));
    let refused = world.operator.status(v1::StatusRequest { sweep: "none".into() }).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "there is no sweep `none`"));
    let plan = v1::PlanRequest { manifest: "\n".into(), file: "demo".into(), ..Default::default() };
    let refused = world.operator.submit(plan).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "demo:0: empty"));
    let stale = v1::HeartbeatRequest { term: 9, ..Default::default() };
    assert_eq!(reason(&world.fleet.heartbeat(stale).await.unwrap_err()), Some(Reason::StaleTerm));
    world.stop().await;
}

#[tokio::test]
async fn operators_select_by_what_jobs_are_and_see_before_they_change() {
    let (_dir, database) = folder();
    let mut world = World::start(&database).await;
    world.submit("first\nsecond\nthird first").await;
    let worker = world.register("w", vec![]).await.worker;
    let task = world.next_job(worker).await.task.unwrap();
    world.heartbeat(worker, task, 1).await.unwrap();
    world.clock.advance(Duration::from_secs(7));
    let select = v1::SelectRequest { sweep: "demo".into(), ..Default::default() };
    let preview = v1::SelectRequest { preview: true, ..select.clone() };
    let seen = world.operator.cancel(preview).await.unwrap().into_inner();
    assert_eq!((seen.changed, seen.states["running"], seen.running_s), (3, 1, 7.0));
    let some = v1::SelectRequest { label: "?hird".into(), ..select.clone() };
    assert_eq!(world.operator.cancel(some).await.unwrap().into_inner().changed, 1);
    let none = v1::SelectRequest { error_code: "data".into(), ..select.clone() };
    assert_eq!(world.operator.cancel(none).await.unwrap().into_inner().changed, 0, "none is not all");
    let wrong = v1::SelectRequest { error_code: "dta".into(), ..select };
    let refused = world.operator.cancel(wrong).await.unwrap_err();
    assert!(refused.message().contains("error_code"), "{refused}");
    let explained = world.operator.explain(v1::ExplainRequest { job: task.job }).await.unwrap().into_inner();
    // Progress is written down before the clock moves or after it.
    let reasons = [7, 0].map(|ago| vec![format!("w computes it since 7 s; it last went on {ago} s ago")]);
    assert!(reasons.contains(&explained.lines), "{:?}", explained.lines);
    let unknown = world.operator.explain(v1::ExplainRequest { job: 99 }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    world.stop().await;
}

#[tokio::test]
async fn a_drained_worker_is_told_so_and_the_journal_tells_everything() {
    let (_dir, database) = folder();
    let mut world = World::start(&database).await;
    world.submit("only").await;
    let worker = world.register("w", vec![]).await.worker;
    let drain = v1::DrainRequest { worker: "w".into(), grace_ms: 5_000, off: false };
    world.operator.drain(drain.clone()).await.unwrap();
    assert!(world.acquire(worker, Duration::ZERO).await.is_empty());
    let beat = v1::HeartbeatRequest { term: 1, worker, ..Default::default() };
    let told = world.fleet.heartbeat(beat).await.unwrap().into_inner();
    assert_eq!((told.drain, told.drain_grace_ms), (true, 5_000));
    world.operator.drain(v1::DrainRequest { off: true, ..drain.clone() }).await.unwrap();
    let task = world.next_job(worker).await.task.unwrap();
    let unknown = v1::DrainRequest { worker: "x".into(), ..drain };
    assert_eq!(world.operator.drain(unknown).await.unwrap_err().code(), Code::NotFound);

    let all = v1::EventsRequest { after: 0, follow: true };
    let mut journal = world.operator.events(all).await.unwrap().into_inner();
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(journal.message().await.unwrap().unwrap().kind);
    }
    assert_eq!(kinds, ["job.ready", "sweep.running", "job.leased"]);
    world.complete(worker, task, 1).await.unwrap();
    let next = journal.message().await.unwrap().unwrap();
    assert_eq!((next.kind.as_str(), next.job, next.attempt), ("job.succeeded", task.job, 1));
    world.stop().await;
}

#[tokio::test]
async fn plain_http_beside_the_calls_tells_monitors_what_happened() {
    let (_dir, database) = folder();
    let mut world = World::start(&database).await;
    world.submit("first\nsecond").await;
    let worker = world.register("w", vec![]).await.worker;
    let first = world.next_job(worker).await.task.unwrap();
    world.heartbeat(worker, first, 1).await.unwrap();
    world.complete(worker, first, 1).await.unwrap();
    let second = world.next_job(worker).await.task.unwrap();
    let fail =
        v1::FailRequest { term: 1, worker, task: Some(second), code: "data".into(), ..Default::default() };
    world.fleet.fail(fail).await.unwrap();
    world.complete(worker, second, 2).await.unwrap_err();

    let beat = v1::HeartbeatRequest { term: 1, worker, idle_gaps_us: vec![100_000], ..Default::default() };
    world.fleet.heartbeat(beat).await.unwrap();
    // A loop of the server counts what the table holds.
    let counted = async {
        loop {
            let metrics = world.get("/metrics").await;
            if metrics.contains("quiver_jobs{state=\"failed\"} 1\n") {
                return metrics;
            }
        }
    };
    let metrics = tokio::time::timeout(Duration::from_secs(30), counted).await.unwrap();
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        &format!("quiver_build_info{{version=\"{version}\"}} 1"),
        "quiver_leader 1",
        "quiver_term 1",
        "quiver_table_up 1",
        "quiver_claims_total 2",
        "quiver_completions_total 1",
        "quiver_heartbeats_total 2",
        "quiver_idle_gap_seconds_sum 0.1",
        "quiver_jobs{state=\"succeeded\"} 1",
        "quiver_workers 1",
        "quiver_lanes 1",
        "quiver_lanes_busy 0",
        "quiver_releases_total 0",
        "quiver_failures_total{code=\"data\"} 1",
        "quiver_refused_total{reason=\"STALE_ATTEMPT\"} 1",
        "quiver_call_seconds_count{method=\"Fleet/Complete\"} 2",
        "quiver_call_seconds_count{method=\"Operator/Submit\"} 1",
        "quiver_table_seconds_count{operation=\"submit\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    for (path, body) in [("/healthz", "alive\n"), ("/readyz", "leads\n"), ("/leaderz", "leads\n")] {
        let answer = world.get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(body), "{answer}");
    }
    world.stop().await;
}
