//! Garbage collection beside commits, crashes and a store that fails: what is committed stays whole, what nobody needs goes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use coordinator::garbage::{Collection, GarbageError, LIFT_AFTER, Report, Turns, lift};
use coordinator_core::policy::Policy;
use coordinator_core::time::Micros;
use coordinator_store::model::{
    Artifact, Claim, Commit, Completion, Lane, NewJob, NewSession, NewSweep, Stamp,
};
use coordinator_store::{MemoryStore, Store, StoreError};
use futures::{FutureExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use proptest::prelude::*;
use proto::UPLOAD_TRUST;
use proto::id::{Attempt, Digest, JobKey, LaneId, WorkerId};
use proto::pipe::Task;
use serde_json::json;
use worker_artifacts::faulty::{Call, Fault, FaultyStore};
use worker_artifacts::{ArtifactRef, Artifacts, FileEntry, Manifest, Origin, hash_bytes};

const JOBS: usize = 6;
const HOUR: Duration = Duration::from_secs(3_600);

/// A result in the store, and what its commit names.
#[derive(Clone)]
struct Uploaded {
    artifact: ArtifactRef,
    blobs: Vec<Digest>,
    /// When its upload began.
    at: Micros,
}

/// A table with jobs that run, an object store, and a time that the test moves.
struct World {
    table: Arc<MemoryStore>,
    objects: Arc<InMemory>,
    turns: Arc<Turns>,
    now: Arc<Mutex<Micros>>,
    serving_since: Micros,
    worker: WorkerId,
    tasks: Vec<Task>,
}

impl World {
    async fn new() -> Self {
        let policy = Policy { lease_ttl: 1_000 * HOUR, ..Policy::default() };
        let table = Arc::new(MemoryStore::new(policy));
        // Objects carry the machine's time; the test's begins later, so that all of them are old.
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + 24 * HOUR;
        let start = Micros(today.as_micros() as i64);
        let at = Stamp { term: table.term(), now: start };
        let job = |n: usize| NewJob {
            key: key(n),
            kind: "pretrain".into(),
            stage: "pretrain".into(),
            label: format!("job {n}"),
            spec: "{}".into(),
            inputs: vec![],
            fan: Some(hash_bytes(b"fan").digest),
            fan_limits: None,
            coverage: false,
            may_miss: 0,
            tokens: 1,
        };
        let sweep = NewSweep {
            name: "sweep".into(),
            manifest_digest: hash_bytes(b"sweep").digest,
            owner: "me".into(),
            priority: 0,
            stages: vec!["pretrain".into()],
            trace: None,
            jobs: (0..JOBS).map(job).collect(),
        };
        table.submit(at, sweep).await.unwrap();
        let session = NewSession {
            name: "w".into(),
            incarnation: "1".into(),
            host: "h".into(),
            version: "0".into(),
            lanes: vec![Lane { id: LaneId(0), device: "cpu".into() }],
            leaving: false,
        };
        let worker = table.register(at, session, vec![]).await.unwrap().worker;
        let claim = Claim { worker, lane: LaneId(0), fan: None, free_slots: JOBS as u32, prefetch: 0 };
        let offers = table.claim(at, vec![claim]).await.unwrap().remove(0).unwrap();
        let tasks: Vec<_> = offers.iter().map(|offer| offer.task).collect();
        assert_eq!(tasks.len(), JOBS);
        let now = Arc::new(Mutex::new(start));
        Self {
            table,
            objects: Arc::default(),
            turns: Arc::default(),
            now,
            serving_since: start,
            worker,
            tasks,
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp { term: self.table.term(), now: *self.now.lock().unwrap() }
    }

    fn pass(&self, time: Duration) {
        let mut now = self.now.lock().unwrap();
        *now = now.after(time);
    }

    /// The store, which meets what `decide` decides.
    fn over(&self, decide: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> Artifacts {
        let inner: Arc<dyn ObjectStore> = Arc::clone(&self.objects) as _;
        Artifacts::over(Arc::new(FaultyStore::new(inner, decide)), "mem://garbage")
    }

    fn artifacts(&self) -> Artifacts {
        self.over(|_| Fault::None)
    }

    /// Uploads a job's result as its worker does: what is there already is left.
    async fn upload(&self, job: usize, contents: &[u8]) -> Uploaded {
        let at = self.stamp().now;
        let artifacts = self.artifacts();
        let mut entries = Vec::new();
        for content in contents {
            let blob = artifacts.put_bytes(Bytes::from(vec![*content; 3])).await.unwrap();
            entries.push(FileEntry { path: format!("f{content}"), size: blob.size, sha256: blob.digest });
        }
        let origin = Origin::Job { key: key(job), attempt: Attempt(1) };
        let (wanted, bytes) = Manifest::new("adapter", origin, entries).unwrap().encode().unwrap();
        let artifact = artifacts.put_manifest(&wanted, bytes).await.unwrap();
        let stored = artifacts.manifest(&artifact).await.unwrap();
        let blobs = stored.files.iter().map(|entry| entry.sha256).collect();
        Uploaded { artifact, blobs, at }
    }

    async fn commit(&self, job: usize, uploaded: &Uploaded) -> Result<Artifact, StoreError> {
        let Uploaded { artifact: ArtifactRef { path, digest }, blobs, .. } = uploaded.clone();
        let completion = Completion {
            role: "adapter".into(),
            artifact: Artifact { path, digest },
            bytes: 3,
            metrics: json!({}),
            device_ms: 1,
            blobs,
        };
        let commit = Commit { worker: self.worker, task: self.tasks[job], completion };
        self.table.complete(self.stamp(), vec![commit]).await.unwrap().remove(0)
    }

    fn collection(&self, artifacts: Artifacts) -> Collection {
        let (now, term) = (Arc::clone(&self.now), self.table.term());
        let stamps = Box::new(move || Stamp { term, now: *now.lock().unwrap() });
        let turns = Arc::clone(&self.turns);
        Collection::new(Arc::clone(&self.table) as _, artifacts, stamps, turns).unwrap()
    }

    /// A whole collection over a store that may fail.
    async fn collect(&self, artifacts: Artifacts) -> Result<Report, GarbageError> {
        let mut collection = self.collection(artifacts);
        let mut last = collection.find(Duration::ZERO, Duration::ZERO).await?;
        while let Some(report) = collection.delete_some().await? {
            last = report;
        }
        Ok(last)
    }

    /// Another coordinator takes the table over; the first may still believe in itself.
    fn succeed(&mut self) {
        self.table = Arc::new(self.table.successor());
        self.serving_since = self.stamp().now;
        self.turns = Arc::default();
    }

    async fn lift(&self) -> u64 {
        lift(&*self.table, self.stamp(), self.serving_since).await.unwrap()
    }

    async fn roots(&self) -> BTreeSet<ArtifactRef> {
        let roots = self.table.roots().await.unwrap();
        roots.into_iter().map(|Artifact { path, digest }| ArtifactRef { path, digest }).collect()
    }

    async fn check(&self) {
        let verified = self.artifacts().verify(&self.roots().await, true).await.unwrap();
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    }

    async fn keys(&self) -> BTreeSet<String> {
        self.artifacts().list().map_ok(|object| object.key).try_collect().await.unwrap()
    }

    /// Nothing is there but what committed artifacts need.
    async fn check_clean(&self) {
        self.check().await;
        let needed = self.artifacts().references(&self.roots().await).await.unwrap();
        assert_eq!(self.keys().await, needed);
    }
}

fn key(job: usize) -> JobKey {
    JobKey(hash_bytes(&[job as u8]).digest)
}

/// One job committed, one uploaded only; they share a blob.
async fn half_done() -> World {
    let world = World::new().await;
    let done = world.upload(0, &[1, 2]).await;
    world.commit(0, &done).await.unwrap();
    world.upload(1, &[2, 3]).await;
    world
}

#[tokio::test(start_paused = true)]
async fn only_what_nothing_refers_to_goes_and_only_when_it_is_old() {
    let world = half_done().await;
    let young = world.collection(world.artifacts()).find(100 * HOUR, Duration::ZERO).await.unwrap();
    assert_eq!((young.listed.objects, young.garbage.len()), (5, 0));
    let before = world.keys().await;
    let found = world.collection(world.artifacts()).find(Duration::ZERO, Duration::ZERO).await.unwrap();
    let kinds: BTreeMap<_, _> = found.garbage.iter().map(|(kind, tally)| (*kind, tally.objects)).collect();
    assert_eq!(kinds, BTreeMap::from([("blobs", 1), ("manifests", 1)]));
    assert_eq!(world.keys().await, before, "looking changes nothing");
    let done = world.collect(world.artifacts()).await.unwrap();
    assert_eq!((done.deleted.objects, done.spared), (2, 0));
    world.check_clean().await;
    assert_eq!(world.collect(world.artifacts()).await.unwrap().deleted.objects, 0);
}

#[tokio::test(start_paused = true)]
async fn logs_go_by_their_age_alone() {
    let world = half_done().await;
    world.artifacts().put_log(key(0), Attempt(1), 0, "said".into()).await.unwrap();
    let mut collection = world.collection(world.artifacts());
    let found = collection.find(100 * HOUR, 100 * HOUR).await.unwrap();
    assert_eq!((found.listed.objects, found.garbage.len()), (6, 0));
    let found = collection.find(100 * HOUR, HOUR).await.unwrap();
    assert_eq!(found.garbage["logs"].bytes, 4);
    assert_eq!(collection.delete_some().await.unwrap().unwrap().deleted.objects, 1);
    assert_eq!(world.table.condemned().await.unwrap(), []);
    assert_eq!(world.artifacts().log(key(0), Attempt(1), 0).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_at_any_call_nothing_is_lost_and_the_next_collection_finishes() {
    let calls = Arc::new(Mutex::new(0));
    let counted = half_done().await;
    let counter = Arc::clone(&calls);
    let counting = counted.over(move |_| {
        *counter.lock().unwrap() += 1;
        Fault::None
    });
    counted.collect(counting).await.unwrap();
    let calls = *calls.lock().unwrap();
    assert!(calls > 4, "{calls}");
    for last in 0..calls {
        for fault in [Fault::Before, Fault::After] {
            let mut world = half_done().await;
            let dying = world.over(move |call| match call.number {
                number if number < last => Fault::None,
                number if number == last => fault,
                _ => Fault::Before,
            });
            let died = world.collect(dying).await;
            assert!(matches!(died, Err(GarbageError::Store(_))) || last + 1 == calls, "{last}: {died:?}");
            world.check().await;
            world.succeed();
            world.collect(world.artifacts()).await.unwrap();
            world.check_clean().await;
            world.pass(LIFT_AFTER + Duration::from_secs(1));
            world.lift().await;
            assert_eq!(world.table.condemned().await.unwrap(), []);
            let again = world.upload(1, &[2, 3]).await;
            world.commit(1, &again).await.unwrap();
            world.check_clean().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_while_a_collection_goes_on_is_spared() {
    let world = World::new().await;
    let late = world.upload(0, &[1]).await;
    let mut collection = world.collection(world.artifacts());
    assert_eq!(collection.find(Duration::ZERO, Duration::ZERO).await.unwrap().garbage.len(), 2);
    world.commit(0, &late).await.unwrap();
    let report = collection.delete_some().await.unwrap().unwrap();
    assert_eq!((report.deleted.objects, report.spared), (0, 2));
    assert_eq!(world.table.condemned().await.unwrap(), []);
    world.check_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_what_was_deleted_is_refused_until_nobody_can_err_any_more() {
    let world = half_done().await;
    let stale = world.upload(1, &[2, 3]).await;
    world.collect(world.artifacts()).await.unwrap();
    let refused = world.commit(1, &stale).await.unwrap_err();
    assert!(matches!(refused, StoreError::Condemned(_)), "{refused}");
    let again = world.upload(1, &[2, 3]).await;
    assert!(world.commit(1, &again).await.is_err(), "an older look at the store might be on its way");
    world.pass(UPLOAD_TRUST);
    assert_eq!(world.lift().await, 0);
    world.pass(LIFT_AFTER);
    assert_eq!(world.lift().await, 2);
    world.commit(1, &again).await.unwrap();
    world.check_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_leads_no_more_deletes_nothing() {
    let mut world = half_done().await;
    let before = world.keys().await;
    let mut collection = world.collection(world.artifacts());
    collection.find(Duration::ZERO, Duration::ZERO).await.unwrap();
    world.succeed();
    let error = collection.delete_some().await.unwrap_err();
    assert!(matches!(error, GarbageError::Table(StoreError::StaleTerm { .. })), "{error}");
    assert_eq!(world.keys().await, before);
}

#[tokio::test(start_paused = true)]
async fn one_collects_at_a_time_and_waits_for_imports() {
    let world = half_done().await;
    let mut collection = world.collection(world.artifacts());
    let (at, turns) = (world.stamp(), Arc::clone(&world.turns));
    let second =
        Collection::new(Arc::clone(&world.table) as _, world.artifacts(), Box::new(move || at), turns);
    assert!(second.is_none());
    collection.find(Duration::ZERO, Duration::ZERO).await.unwrap();
    let import = world.turns.importing.read().await;
    assert!(collection.delete_some().now_or_never().is_none(), "an import is under way");
    drop(import);
    assert_eq!(world.keys().await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_while_a_needed_manifest_cannot_be_read() {
    let world = half_done().await;
    let root = world.roots().await.pop_first().unwrap();
    world.artifacts().delete(&BTreeSet::from([root.path.clone()])).await.unwrap();
    let error = world.collect(world.artifacts()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` does not exist in mem://garbage", root.path));
    assert_eq!(world.keys().await.len(), 4);
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    Upload(usize),
    Commit(usize),
    Find,
    Delete,
    /// The leader dies, with whatever it was doing.
    Die,
    Pass(u64),
    Lift,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..JOBS).prop_map(Step::Upload),
        4 => (0..JOBS).prop_map(Step::Commit),
        3 => Just(Step::Find),
        3 => Just(Step::Delete),
        1 => Just(Step::Die),
        3 => (0..700_u64).prop_map(Step::Pass),
        2 => Just(Step::Lift),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Workers that upload, wait and commit, as long as they may trust what they uploaded, beside collections that begin, die and go on.
    #[test]
    fn whatever_the_order_what_is_committed_stays_whole(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            let mut uploads: BTreeMap<usize, Uploaded> = BTreeMap::new();
            let mut collection = None;
            for step in steps {
                match step {
                    Step::Upload(job) => {
                        // Each blob is shared by several jobs.
                        let contents = [job as u8 % 3, 3 + job as u8 % 2];
                        uploads.insert(job, world.upload(job, &contents).await);
                    }
                    Step::Commit(job) => {
                        let now = world.stamp().now;
                        let trusted = uploads.get(&job).filter(|upload| now.since(upload.at) < UPLOAD_TRUST);
                        let Some(upload) = trusted else { continue };
                        match world.commit(job, upload).await {
                            Ok(_) => {}
                            Err(StoreError::Condemned(_)) => drop(uploads.remove(&job)),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    Step::Find => {
                        drop(collection.take());
                        let mut begun = world.collection(world.artifacts());
                        begun.find(Duration::ZERO, Duration::ZERO).await.unwrap();
                        collection = Some(begun);
                    }
                    Step::Delete => {
                        if let Some(begun) = &mut collection {
                            begun.delete_some().await.unwrap();
                        }
                    }
                    Step::Die => {
                        collection = None;
                        world.succeed();
                    }
                    Step::Pass(seconds) => world.pass(Duration::from_secs(seconds)),
                    Step::Lift => drop(world.lift().await),
                }
                world.check().await;
            }
            drop(collection);
            world.collect(world.artifacts()).await.unwrap();
            world.check_clean().await;
        });
    }
}
