//! Simulated workers over real connections: each registers, sends heartbeats, takes jobs and hands results in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use proto::v1;
use proto::v1::fleet_client::FleetClient;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::transport::Channel;

use crate::coordinator::Coordinator;
use crate::jobs;
use crate::latency::Latencies;
use crate::report::{Goal, Sheet};

/// How often a worker sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The goal for each call while a thousand workers are at it.
const SWIFT: Goal = Goal::AtMost(50.0);
/// Lanes that do nothing but claim and complete.
pub(crate) const BUSY: usize = 24;
/// Jobs that each of these takes at a time.
pub(crate) const BATCH: u32 = 16;

/// A session with the coordinator.
#[derive(Clone)]
pub(crate) struct Worker {
    client: FleetClient<Channel>,
    id: i64,
    term: u64,
    held: Arc<Mutex<Vec<v1::Task>>>,
}

impl Worker {
    /// Opens a session of one lane.
    pub(crate) async fn register(coordinator: &Coordinator, name: &str) -> Result<Self> {
        let mut client = coordinator.fleet()?;
        let request = v1::RegisterRequest {
            name: name.to_owned(),
            incarnation: "1".to_owned(),
            host: name.to_owned(),
            version: "0".to_owned(),
            lanes: vec![v1::Lane { id: 0, device: "cpu".to_owned() }],
            held: Vec::new(),
            draining: false,
        };
        let reply = client.register(request).await?.into_inner();
        Ok(Self { client, id: reply.worker, term: reply.term, held: Arc::default() })
    }

    /// Takes up to so many jobs of one fan, waiting for them as long.
    pub(crate) async fn acquire(&self, slots: u32, wait: Duration) -> Result<Vec<v1::Offer>> {
        let request = v1::AcquireRequest {
            term: self.term,
            worker: self.id,
            lane: 0,
            fan: String::new(),
            free_slots: slots,
            wait_ms: u64::try_from(wait.as_millis())?,
            prefetch: 0,
        };
        let offers = self.client.clone().acquire(request).await?.into_inner().offers;
        self.held().extend(offers.iter().filter_map(|offer| offer.task));
        Ok(offers)
    }

    /// Hands a trivial result in.
    async fn complete(&self, offer: &v1::Offer) -> Result<()> {
        let artifact = jobs::result(&offer.label);
        let digest = artifact.digest.to_string();
        let request = v1::CompleteRequest {
            term: self.term,
            worker: self.id,
            task: offer.task,
            role: "adapter".to_owned(),
            artifact: Some(v1::Artifact { path: artifact.path, digest: digest.clone() }),
            bytes: 100_000,
            metrics: jobs::metrics().to_string(),
            device_ms: 60_000,
            blobs: vec![digest],
        };
        self.client.clone().complete(request).await?;
        self.held().retain(|task| Some(*task) != offer.task);
        Ok(())
    }

    /// Shows that it lives.
    pub(crate) async fn beat(&self) -> Result<()> {
        let held = |task: &v1::Task| v1::Held { task: Some(*task), running: true, progress: None };
        let held = self.held().iter().map(held).collect();
        let (term, worker) = (self.term, self.id);
        let request = v1::HeartbeatRequest { term, worker, held, ..Default::default() };
        self.client.clone().heartbeat(request).await?;
        Ok(())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<v1::Task>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the calls of some workers took.
#[derive(Clone, Default)]
struct Calls {
    claims: Latencies,
    commits: Latencies,
    beats: Latencies,
}

/// A fleet that works as fleets do: many workers, each busy with one job for some seconds.
pub(crate) struct Fleet {
    calls: Arc<Mutex<Calls>>,
    tasks: JoinSet<Result<()>>,
}

impl Fleet {
    /// Registers the workers and sets them to work.
    pub(crate) async fn start(coordinator: &Coordinator, count: usize, job: Duration) -> Result<Self> {
        let names: Vec<_> = (0..count).map(|n| format!("worker-{n}")).collect();
        let workers = try_join_all(names.iter().map(|name| Worker::register(coordinator, name))).await?;
        let calls = Arc::<Mutex<Calls>>::default();
        let mut tasks = JoinSet::new();
        for (n, worker) in workers.into_iter().enumerate() {
            let phase = n as f64 / count as f64;
            tasks.spawn(beat(worker.clone(), HEARTBEAT.mul_f64(phase), Arc::clone(&calls)));
            tasks.spawn(work(worker, job, phase, Arc::clone(&calls)));
        }
        Ok(Self { calls, tasks })
    }

    /// What happened during some time from now on. Ends with the first worker that fails.
    async fn observe(&mut self, time: Duration) -> Result<Calls> {
        *lock(&self.calls) = Calls::default();
        tokio::select! {
            Some(ended) = self.tasks.join_next() => ended??,
            () = sleep(time) => {}
        }
        Ok(lock(&self.calls).clone())
    }

    /// Measures the fleet at work.
    pub(crate) async fn measure(&mut self, sheet: &mut Sheet<'_>, time: Duration) -> Result<()> {
        let calls = self.observe(time).await?;
        let seconds = time.as_secs_f64();
        for (what, latencies) in
            [("claims", &calls.claims), ("completions", &calls.commits), ("heartbeats", &calls.beats)]
        {
            let what = format!("fleet: {what}");
            sheet.note(&what, latencies.count() as f64 / seconds, "calls/s");
            sheet.latencies(&what, latencies, Some(SWIFT));
        }
        Ok(())
    }
}

fn lock(calls: &Mutex<Calls>) -> std::sync::MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Heartbeats for ever.
async fn beat(worker: Worker, phase: Duration, calls: Arc<Mutex<Calls>>) -> Result<()> {
    sleep(phase).await;
    let mut timer = tokio::time::interval(HEARTBEAT);
    loop {
        timer.tick().await;
        let began = Instant::now();
        worker.beat().await?;
        lock(&calls).beats.note(began);
    }
}

/// Jobs for ever, the first ends early, so that not all end together.
async fn work(worker: Worker, job: Duration, phase: f64, calls: Arc<Mutex<Calls>>) -> Result<()> {
    sleep(job.mul_f64(phase / 2.0)).await;
    let mut left = job.mul_f64(phase);
    loop {
        let began = Instant::now();
        let offers = worker.acquire(1, Duration::from_secs(20)).await?;
        lock(&calls).claims.note(began);
        sleep(left).await;
        left = job;
        for offer in &offers {
            let began = Instant::now();
            worker.complete(offer).await?;
            lock(&calls).commits.note(began);
        }
    }
}

/// Lanes that do nothing but claim and complete, for some time. Returns jobs per second.
pub(crate) async fn exchange(
    coordinator: &Coordinator,
    sheet: &mut Sheet<'_>,
    what: &str,
    time: Duration,
) -> Result<f64> {
    let names: Vec<_> = (0..BUSY).map(|n| format!("busy-{n}")).collect();
    let workers = try_join_all(names.iter().map(|name| Worker::register(coordinator, name))).await?;
    let began = Instant::now();
    let lane = |worker: Worker| async move {
        let (mut claims, mut commits) = (Latencies::default(), Latencies::default());
        while began.elapsed() < time {
            let call = Instant::now();
            let offers = worker.acquire(BATCH, Duration::ZERO).await?;
            claims.note(call);
            let commit = |offer: v1::Offer| {
                let worker = worker.clone();
                async move {
                    let call = Instant::now();
                    worker.complete(&offer).await?;
                    anyhow::Ok(call.elapsed())
                }
            };
            commits.add(try_join_all(offers.into_iter().map(commit)).await?.into_iter().collect());
        }
        anyhow::Ok((claims, commits))
    };
    let lanes = try_join_all(workers.into_iter().map(|worker| tokio::spawn(lane(worker)))).await?;
    let elapsed = began.elapsed().as_secs_f64();
    let (mut claims, mut commits) = (Latencies::default(), Latencies::default());
    for lane in lanes {
        let (lane_claims, lane_commits) = lane?;
        claims.add(lane_claims);
        commits.add(lane_commits);
    }
    let rate = commits.count() as f64 / elapsed;
    let what = format!("{what}: {BUSY} lanes claim {BATCH} and complete");
    sheet.note(&what, rate, "jobs/s");
    sheet.latencies(&format!("{what}: a claim"), &claims, None);
    sheet.latencies(&format!("{what}: a completion"), &commits, None);
    Ok(rate)
}
