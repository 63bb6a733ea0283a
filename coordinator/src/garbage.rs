//! Garbage collection (`orchestration.md` §5). What nothing refers to is deleted in steps of which each may be the last: list what is old
//! enough, mark a batch as condemned, look again and spare what was committed meanwhile, delete the rest. A commit that names something
//! condemned is refused, and its worker uploads again; so "it exists already" never races with a deletion.
//!
//! Marks are lifted later, by [`lift`]: no earlier than when nobody can commit any more on the strength of a look at the store before
//! the deletion. Whoever takes over from a collector that died needs to know nothing of it: what was marked and is still there is found
//! by the next collection, and the marks are lifted by their age.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use coordinator_core::time::Micros;
use coordinator_store::model::Stamp;
use coordinator_store::{Store, StoreError};
use futures::TryStreamExt;
use proto::UPLOAD_TRUST;
use tokio::sync::{OwnedMutexGuard, RwLock};
use tokio::time::{Instant, timeout};
use worker_artifacts::{ArtifactError, ArtifactRef, Artifacts, LOGS, Listed, garbage, kind_of};

/// Objects that are condemned and deleted together.
const BATCH: usize = 1_000;
/// The longest time from a batch's condemnation to the end of its deletion.
const BATCH_TIME: Duration = Duration::from_secs(60);
/// How old a mark must be before it is lifted: a worker trusts what it saw in the store for [`UPLOAD_TRUST`], a deletion ends within
/// [`BATCH_TIME`] of the mark, and a call is answered or given up within the rest.
pub const LIFT_AFTER: Duration = UPLOAD_TRUST.saturating_add(Duration::from_secs(120));

/// Why a collection stopped. What it has done so far was right, and the next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum GarbageError {
    /// The job table refused or failed.
    #[error(transparent)]
    Table(#[from] StoreError),
    /// The object store failed, or an artifact that the table refers to cannot be read, so that nobody knows what it needs.
    #[error(transparent)]
    Store(#[from] ArtifactError),
    /// Marks might be lifted while something of theirs is yet to be deleted.
    #[error("the object store took more than {} s for one batch of deletions; collect again", BATCH_TIME.as_secs())]
    Slow,
}

/// Some objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub objects: u64,
    /// Their sizes together.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// How far a collection is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the store holds.
    pub listed: Tally,
    /// What nothing refers to and is old enough, by kind.
    pub garbage: BTreeMap<&'static str, Tally>,
    /// What was deleted so far.
    pub deleted: Tally,
    /// What was committed since it was listed, and stays.
    pub spared: u64,
}

/// What collections and imports must not do at the same time, and who collects.
#[derive(Debug, Default)]
pub struct Turns {
    /// Imports share it from their first look at the store until the table names what they brought.
    pub importing: RwLock<()>,
    /// The collector's own.
    pub collecting: Arc<tokio::sync::Mutex<()>>,
}

/// Tells the time and the term of a write.
pub type Stamps = Box<dyn Fn() -> Stamp + Send + Sync>;

/// One collection of garbage.
pub struct Collection {
    store: Arc<dyn Store>,
    artifacts: Artifacts,
    stamps: Stamps,
    turns: Arc<Turns>,
    _turn: OwnedMutexGuard<()>,
    roots: BTreeSet<ArtifactRef>,
    references: BTreeSet<String>,
    batches: VecDeque<BTreeMap<String, u64>>,
    report: Report,
}

impl Collection {
    /// A collection that has done nothing yet. `None` while another one of the same `turns` goes on.
    pub fn new(
        store: Arc<dyn Store>,
        artifacts: Artifacts,
        stamps: Stamps,
        turns: Arc<Turns>,
    ) -> Option<Self> {
        let turn = Arc::clone(&turns.collecting).try_lock_owned().ok()?;
        Some(Self {
            store,
            artifacts,
            stamps,
            turns,
            _turn: turn,
            roots: BTreeSet::new(),
            references: BTreeSet::new(),
            batches: VecDeque::new(),
            report: Report::default(),
        })
    }

    /// Finds what nothing refers to and is older than `grace`, and logs that are older than `logs`. Changes nothing.
    ///
    /// # Errors
    /// When table or store fail, or an artifact that is referred to cannot be read.
    pub async fn find(&mut self, grace: Duration, logs: Duration) -> Result<Report, GarbageError> {
        // What is committed after the listing is among the roots; what is uploaded after it is not in the listing.
        let listing: Vec<_> = self.artifacts.list().try_collect().await?;
        self.refer().await?;
        let now = (self.stamps)().now.0;
        let is_log = |object: &&Listed| kind_of(&object.key) == Some(LOGS);
        let mut unused =
            garbage(listing.iter().filter(|object| !is_log(object)), &self.references, grace, now);
        unused.extend(garbage(listing.iter().filter(is_log), &BTreeSet::new(), logs, now));
        for object in &unused {
            self.report.garbage.entry(kind_of(&object.key).unwrap_or_default()).or_default().add(object.size);
        }
        listing.iter().for_each(|object| self.report.listed.add(object.size));
        // A manifest goes before its blobs, so that none is there without them.
        unused.sort_by_key(|object| (kind_of(&object.key) == Some("blobs"), &object.key));
        let sizes =
            |batch: &[&Listed]| batch.iter().map(|object| (object.key.clone(), object.size)).collect();
        self.batches = unused.chunks(BATCH).map(sizes).collect();
        Ok(self.report.clone())
    }

    /// Deletes the next part of what was found; `None` when nothing is left.
    ///
    /// # Errors
    /// As for `find`, and when another coordinator leads by now.
    pub async fn delete_some(&mut self) -> Result<Option<Report>, GarbageError> {
        let Some(batch) = self.batches.pop_front() else { return Ok(None) };
        let turns = Arc::clone(&self.turns);
        let _imports_wait = turns.importing.write().await;
        // No commit ever names a log.
        let (logs, batch): (BTreeMap<_, _>, BTreeMap<_, _>) =
            batch.into_iter().partition(|(key, _)| kind_of(key) == Some(LOGS));
        self.delete(logs.keys().cloned().collect(), &logs, BATCH_TIME).await?;
        let digests = self.artifacts.digests(&batch.keys().cloned().collect()).await?;
        let condemned = Instant::now();
        self.store.condemn((self.stamps)(), digests.values().copied().collect()).await?;
        self.refer().await?;
        let (spared, doomed): (BTreeMap<_, _>, BTreeMap<_, _>) =
            digests.into_iter().partition(|(key, _)| self.references.contains(key));
        if !spared.is_empty() {
            self.report.spared += spared.len() as u64;
            self.store.absolve((self.stamps)(), spared.into_values().collect()).await?;
        }
        let time = BATCH_TIME.saturating_sub(condemned.elapsed());
        self.delete(doomed.into_keys().collect(), &batch, time).await?;
        Ok(Some(self.report.clone()))
    }

    async fn delete(
        &mut self,
        keys: BTreeSet<String>,
        sizes: &BTreeMap<String, u64>,
        time: Duration,
    ) -> Result<(), GarbageError> {
        timeout(time, self.artifacts.delete(&keys)).await.map_err(|_| GarbageError::Slow)??;
        keys.iter().filter_map(|key| sizes.get(key)).for_each(|bytes| self.report.deleted.add(*bytes));
        Ok(())
    }

    /// Learns what the table refers to by now.
    async fn refer(&mut self) -> Result<(), GarbageError> {
        let roots = self.store.roots().await?;
        let roots: BTreeSet<_> =
            roots.into_iter().map(|root| ArtifactRef { path: root.path, digest: root.digest }).collect();
        let new = roots.difference(&self.roots).cloned().collect();
        self.references.extend(self.artifacts.references(&new).await?);
        self.roots = roots;
        Ok(())
    }
}

/// Lifts the marks of what was deleted long enough ago. A leader waits for as long after it began to serve: until then it may hear from
/// workers whose calls were on their way while nobody led. Returns how many marks.
///
/// # Errors
/// When the table refuses or fails.
pub async fn lift(store: &dyn Store, at: Stamp, serving_since: Micros) -> Result<u64, StoreError> {
    if at.now.since(serving_since) < LIFT_AFTER {
        return Ok(0);
    }
    store.absolve_before(at, at.now.before(LIFT_AFTER)).await
}
