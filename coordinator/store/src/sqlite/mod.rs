//! The job table in a SQLite file, owned by one process: a file lock, write-ahead log with full sync, one writer connection whose
//! transactions begin at once, readers beside it. High availability needs another database; this one always holds term 1.

mod lock;
mod queries;
mod row;
mod sessions;
mod sweeps;
mod view;
mod work;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_core::invariants::JobFacts;
use coordinator_core::policy::Policy;
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use proto::id::{JobKey, SweepId, Term, WorkerId};
use proto::pipe::Task;
use proto::state::JobState;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

use crate::error::{Result, StoreError};
use crate::model::{
    Artifact, Claim, Completion, Ending, EventView, Held, JobFilter, JobPage, NewSession, NewSweep, Offer,
    RecordedCheckpoint, Registered, Selection, Stamp, Submitted, SweepRow, SweepView, WorkerView,
};
use crate::store::Store;
use lock::FileLock;

/// The schema, embedded at build time.
static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// The only term of a table that one process owns by a file lock.
const TERM: Term = Term(1);

/// How many reads may go on beside the writer.
const READERS: u32 = 4;

/// The job table in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    policy: Policy,
    _lock: FileLock,
}

impl SqliteStore {
    /// Opens or creates the table in a file and takes its lock. Fails when another process has it, naming that process.
    pub async fn open(path: &Path, policy: Policy) -> Result<Self> {
        if let Some(folder) = path.parent() {
            let failed = |source| StoreError::File { path: folder.to_owned(), source };
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = FileLock::take(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await?;
        MIGRATIONS.run(&writer).await?;
        let readers =
            SqlitePoolOptions::new().max_connections(READERS).connect_with(options.read_only(true)).await?;
        Ok(Self { writer, readers, policy, _lock: lock })
    }

    /// Closes all connections, which folds the write-ahead log into the file.
    pub async fn close(self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Begins a write of the reigning term.
    async fn write(&self, at: Stamp) -> Result<Transaction<'static, Sqlite>> {
        if at.term != TERM {
            return Err(StoreError::StaleTerm { given: at.term, current: TERM });
        }
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn term(&self) -> Term {
        TERM
    }

    async fn submit(&self, at: Stamp, sweep: NewSweep) -> Result<Submitted> {
        let mut tx = self.write(at).await?;
        let submitted = sweeps::submit(&mut tx, at, &self.policy, &sweep).await?;
        tx.commit().await?;
        Ok(submitted)
    }

    async fn cancel(&self, at: Stamp, selection: Selection) -> Result<u64> {
        let mut tx = self.write(at).await?;
        let changed = sweeps::cancel(&mut tx, at, &selection).await?;
        tx.commit().await?;
        Ok(changed)
    }

    async fn retry(&self, at: Stamp, selection: Selection) -> Result<u64> {
        let mut tx = self.write(at).await?;
        let changed = sweeps::retry(&mut tx, at, &self.policy, &selection).await?;
        tx.commit().await?;
        Ok(changed)
    }

    async fn register(&self, at: Stamp, session: NewSession, held: Vec<Task>) -> Result<Registered> {
        let mut tx = self.write(at).await?;
        let registered = sessions::register(&mut tx, at, &self.policy, &session, &held).await?;
        tx.commit().await?;
        Ok(registered)
    }

    async fn claim(&self, at: Stamp, claim: Claim) -> Result<Vec<Offer>> {
        let mut tx = self.write(at).await?;
        let offers = work::claim(&mut tx, at, &claim).await?;
        tx.commit().await?;
        Ok(offers)
    }

    async fn heartbeat(&self, at: Stamp, worker: WorkerId, held: Vec<Held>) -> Result<Vec<Task>> {
        let mut tx = self.write(at).await?;
        let fenced = sessions::heartbeat(&mut tx, at, &self.policy, worker, &held).await?;
        tx.commit().await?;
        Ok(fenced)
    }

    async fn record_progress(&self, at: Stamp, progress: Vec<(Task, Progress)>) -> Result<()> {
        let mut tx = self.write(at).await?;
        work::record_progress(&mut tx, &progress).await?;
        Ok(tx.commit().await?)
    }

    async fn checkpoint(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        checkpoint: RecordedCheckpoint,
    ) -> Result<()> {
        let mut tx = self.write(at).await?;
        work::checkpoint(&mut tx, at, worker, task, &checkpoint).await?;
        Ok(tx.commit().await?)
    }

    async fn complete(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        completion: Completion,
    ) -> Result<Artifact> {
        let mut tx = self.write(at).await?;
        let artifact = work::complete(&mut tx, at, worker, task, &completion).await?;
        tx.commit().await?;
        Ok(artifact)
    }

    async fn fail(&self, at: Stamp, worker: WorkerId, task: Task, ending: Ending) -> Result<()> {
        let mut tx = self.write(at).await?;
        work::fail(&mut tx, at, &self.policy, worker, task, &ending).await?;
        Ok(tx.commit().await?)
    }

    async fn expire(&self, at: Stamp, serving_since: Micros) -> Result<u64> {
        let mut tx = self.write(at).await?;
        let ready = sessions::expire(&mut tx, at, &self.policy, serving_since).await?;
        tx.commit().await?;
        Ok(ready)
    }

    async fn promote(&self, at: Stamp) -> Result<u64> {
        let mut tx = self.write(at).await?;
        let ready = work::promote(&mut tx, at).await?;
        tx.commit().await?;
        Ok(ready)
    }

    async fn find_sweep(&self, id_or_name: &str) -> Result<Option<SweepRow>> {
        view::find_sweep(&mut *self.readers.acquire().await?, id_or_name).await
    }

    async fn sweeps(&self) -> Result<Vec<SweepRow>> {
        view::sweeps(&mut *self.readers.acquire().await?).await
    }

    async fn sweep(&self, sweep: SweepId) -> Result<Option<SweepView>> {
        view::sweep(&mut *self.readers.begin().await?, sweep).await
    }

    async fn workers(&self) -> Result<Vec<WorkerView>> {
        view::workers(&mut *self.readers.acquire().await?).await
    }

    async fn jobs(&self, filter: JobFilter) -> Result<JobPage> {
        view::jobs(&mut *self.readers.begin().await?, &filter).await
    }

    async fn states(&self, keys: Vec<JobKey>) -> Result<BTreeMap<JobKey, JobState>> {
        view::states(&mut *self.readers.acquire().await?, &keys).await
    }

    async fn facts(&self) -> Result<Vec<JobFacts>> {
        view::facts(&mut *self.readers.begin().await?).await
    }

    async fn events(&self) -> Result<Vec<EventView>> {
        view::events(&mut *self.readers.acquire().await?).await
    }
}

#[cfg(test)]
mod tests;
