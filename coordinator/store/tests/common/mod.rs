//! What the suites of the job table share: a small world of jobs, and checks that hold at every step.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_core::invariants::{JobFacts, broken, broken_between};
use coordinator_core::policy::Policy;
use coordinator_core::sweep::Counters;
use coordinator_core::time::Micros;
use coordinator_store::model::{
    Artifact, Beat, Claim, Commit, Completion, Ending, Held, JobFilter, Lane, NewInput, NewJob, NewSession,
    NewSweep, Offer, RecordedCheckpoint, Source, Stamp,
};
use coordinator_store::{Lead, Leadership, MemoryStore, SqlStore, Store, StoreError};
use proto::error::ErrorCode;
use proto::id::{Digest, JobKey, LaneId, SweepId, Term, WorkerId};
use proto::pipe::Task;
use proto::state::JobState;
use serde_json::json;

/// Short deadlines, so that tests count in small numbers: seconds are microseconds' thousandfold.
pub(crate) fn policy() -> Policy {
    Policy {
        lease_ttl: Duration::from_micros(300),
        heartbeat: Duration::from_micros(50),
        ack_timeout: Duration::from_micros(100),
        tries: 3,
        backoff: Duration::from_micros(10),
        backoff_cap: Duration::from_micros(40),
        max_halvings: 1,
        stall_after: Duration::from_micros(500),
        blame_limit: 2,
    }
}

/// A write of the reigning term.
pub(crate) fn at(now: i64) -> Stamp {
    Stamp { term: Term(1), now: Micros(now) }
}

pub(crate) fn digest(n: u8) -> Digest {
    Digest::new([n; 32])
}

pub(crate) fn key(n: u8) -> JobKey {
    JobKey(digest(n))
}

pub(crate) fn artifact(n: u8) -> Artifact {
    Artifact { path: format!("manifests/{n}"), digest: digest(n) }
}

/// A job that needs some others; with a fan it is an adapter, without it stands alone.
pub(crate) fn job(n: u8, fan: Option<u8>, tokens: u64, needs: &[u8]) -> NewJob {
    let mut inputs =
        vec![NewInput { name: "dataset".into(), source: Source::Artifact(artifact(200)), optional: false }];
    inputs.extend(needs.iter().map(|need| NewInput {
        name: format!("need/{need}"),
        source: Source::Job(key(*need)),
        optional: false,
    }));
    let kind = if fan.is_some() { "pretrain" } else { "evaluate" };
    NewJob {
        key: key(n),
        kind: kind.into(),
        stage: kind.into(),
        label: format!("job {n}"),
        spec: format!("{{\"n\": {n}}}"),
        inputs,
        fan: fan.map(digest),
        fan_limits: fan.map(|_| "{\"slots\": 4}".into()),
        coverage: false,
        may_miss: 0,
        tokens,
    }
}

/// A job that can do without what it needs, and goes on without `may_miss` of it by itself.
pub(crate) fn tolerant(may_miss: u32, mut job: NewJob) -> NewJob {
    job.may_miss = may_miss;
    for input in &mut job.inputs {
        input.optional = matches!(input.source, Source::Job(_));
    }
    job
}

pub(crate) fn sweep(n: u8, jobs: Vec<NewJob>) -> NewSweep {
    NewSweep {
        name: format!("sweep {n}"),
        manifest_digest: digest(n),
        owner: "me".into(),
        priority: 0,
        stages: vec!["pretrain".into(), "evaluate".into()],
        trace: Some(format!("trace {n}")),
        jobs,
    }
}

/// Two adapters of one fan, and an evaluation of both.
pub(crate) fn small_sweep() -> NewSweep {
    sweep(100, vec![job(1, Some(9), 50, &[]), job(2, Some(9), 70, &[]), job(3, None, 10, &[1, 2])])
}

pub(crate) fn session(name: &str, incarnation: &str) -> NewSession {
    NewSession {
        name: name.into(),
        incarnation: incarnation.into(),
        host: "host".into(),
        version: "0".into(),
        lanes: vec![Lane { id: LaneId(0), device: "cpu".into() }],
        leaving: false,
    }
}

pub(crate) fn claim(worker: WorkerId, fan: Option<u8>, free_slots: u32) -> Claim {
    Claim { worker, lane: LaneId(0), fan: fan.map(digest), free_slots, prefetch: 0 }
}

pub(crate) fn completion(n: u8) -> Completion {
    Completion {
        role: "report".into(),
        artifact: artifact(n),
        bytes: 10,
        metrics: json!({ "variant": "soft", "category": "simple", "correct": n, "total": 10 }),
        device_ms: 5,
        blobs: vec![digest(n)],
    }
}

pub(crate) fn failed(code: ErrorCode) -> Ending {
    Ending::Failed { code, message: format!("it was {code}") }
}

pub(crate) fn running(tasks: &[Task]) -> Vec<Held> {
    tasks.iter().map(|task| Held { task: *task, running: true }).collect()
}

pub(crate) fn tasks(offers: &[Offer]) -> Vec<Task> {
    offers.iter().map(|offer| offer.task).collect()
}

pub(crate) async fn worker(store: &dyn Store, now: i64) -> WorkerId {
    store.register(at(now), session("w", "1"), vec![]).await.unwrap().worker
}

/// Label → state.
pub(crate) async fn states(store: &dyn Store, sweep: SweepId) -> BTreeMap<String, JobState> {
    let filter = JobFilter { sweep, stage: None, state: None, limit: 100 };
    let page = store.jobs(filter).await.unwrap();
    page.jobs.into_iter().map(|job| (job.label, job.state)).collect()
}

/// Checks all invariants of the table, and that its journal replays to its jobs and counters.
pub(crate) async fn check(store: &dyn Store, before: &[JobFacts]) -> Vec<JobFacts> {
    let facts = store.facts().await.unwrap();
    assert_eq!(broken(&facts), []);
    assert_eq!(broken_between(before, &facts), []);
    let mut replayed = BTreeMap::new();
    for event in store.events(0, u32::MAX).await.unwrap() {
        if let Some(job) = event.job {
            let state: JobState = event.kind.strip_prefix("job.").unwrap().parse().unwrap();
            replayed.insert(job, (state, event.attempt.unwrap()));
        }
    }
    let shown: BTreeMap<_, _> = facts.iter().map(|job| (job.id, (job.state, job.attempt))).collect();
    assert_eq!(replayed, shown, "the journal does not replay to the jobs");
    for row in store.sweeps().await.unwrap() {
        let view = store.sweep(row.id).await.unwrap().unwrap();
        for stage in view.stages {
            let filter = JobFilter { sweep: row.id, stage: Some(stage.name), state: None, limit: 1000 };
            let mut counted = Counters::new();
            for job in store.jobs(filter).await.unwrap().jobs {
                counted.entry(replayed[&job.id].0).or_default().jobs += 1;
            }
            let counters: BTreeMap<_, _> = stage.counters.iter().map(|(s, tally)| (*s, tally.jobs)).collect();
            let counted: BTreeMap<_, _> = counted.iter().map(|(s, tally)| (*s, tally.jobs)).collect();
            assert_eq!(counters, counted, "the journal does not replay to the counters");
        }
    }
    facts
}

/// One call at a time, as most tests make them.
#[async_trait]
pub(crate) trait OneByOne {
    async fn claim_one(&self, at: Stamp, claim: Claim) -> Result<Vec<Offer>, StoreError>;
    async fn beat(&self, at: Stamp, worker: WorkerId, held: Vec<Held>) -> Result<Vec<Task>, StoreError>;
    async fn commit(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        completion: Completion,
    ) -> Result<Artifact, StoreError>;
    async fn save(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        checkpoint: RecordedCheckpoint,
    ) -> Result<(), StoreError>;
}

#[async_trait]
impl<T: Store + ?Sized> OneByOne for T {
    async fn claim_one(&self, at: Stamp, claim: Claim) -> Result<Vec<Offer>, StoreError> {
        self.claim(at, vec![claim]).await?.remove(0)
    }

    async fn beat(&self, at: Stamp, worker: WorkerId, held: Vec<Held>) -> Result<Vec<Task>, StoreError> {
        let told = self.heartbeat(at, vec![Beat { worker, held, leaving: false }]).await?.remove(0)?;
        Ok(told.fenced)
    }

    async fn commit(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        completion: Completion,
    ) -> Result<Artifact, StoreError> {
        self.complete(at, vec![Commit { worker, task, completion }]).await?.remove(0)
    }

    async fn save(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        checkpoint: RecordedCheckpoint,
    ) -> Result<(), StoreError> {
        let blobs = vec![checkpoint.artifact.digest];
        self.checkpoint(at, worker, task, checkpoint, blobs).await
    }
}

/// A table under test.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) store: Arc<dyn Store>,
    /// Lives as long as its database.
    _folder: Option<tempfile::TempDir>,
}

/// The implementations under test. Postgres where `QUIVER_TEST_POSTGRES` names a server (`tests/postgres` starts one), which CI must.
pub(crate) async fn stores() -> Vec<Table> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqlStore::sqlite(&folder.path().join("jobs.db"), policy()).await.unwrap();
    let mut tables = vec![
        Table { name: "memory", store: Arc::new(MemoryStore::new(policy())), _folder: None },
        Table { name: "sqlite", store: Arc::new(sqlite), _folder: Some(folder) },
    ];
    if let Some(url) = tests::database() {
        let leadership = lead(&url, "a").await;
        assert_eq!(leadership.try_lead().await.unwrap(), Some(Term(1)));
        tables.push(Table { name: "postgres", store: Arc::new(leadership.store(policy())), _folder: None });
    }
    tables
}

/// A coordinator's claim to lead over a database, by the name `name`.
pub(crate) async fn lead(url: &str, name: &str) -> Arc<Leadership> {
    Leadership::open(url, name.into(), format!("http://{name}"), Duration::from_secs(60)).await.unwrap()
}
