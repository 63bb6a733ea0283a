//! The job table in a database. One set of statements and one flow of decisions serve SQLite and Postgres; what differs is how a table
//! is opened, who may write, and a statement or two.

mod claim;
mod lock;
mod postgres;
mod queries;
mod row;
mod sessions;
mod sqlite;
mod sweeps;
mod upkeep;
mod view;
mod waive;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_core::explain::Situation;
use coordinator_core::invariants::JobFacts;
use coordinator_core::offer::Quota;
use coordinator_core::policy::Policy;
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use proto::id::{Digest, JobId, JobKey, SweepId, Term, WorkerId};
use proto::pipe::Task;
use proto::state::JobState;
use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use tokio::time::Instant;

use crate::error::{Result, StoreError};
use crate::lead::Lead;
use crate::model::{
    Artifact, ArtifactView, Bearer, Beat, Claim, Commit, Ending, EventView, JobFilter, JobPage, NewSession,
    NewSweep, NewToken, Newest, Offer, RecordedCheckpoint, Registered, Selection, Stamp, Submitted, SweepRow,
    SweepView, TokenView, Told, Totals, WorkerView,
};
use crate::store::Store;
use lock::FileLock;
pub use postgres::Leadership;
use queries::Queries;

/// How many reads may go on beside the writes.
const READERS: u32 = 4;

/// The job table in a database.
#[derive(Debug)]
pub struct SqlStore {
    writers: AnyPool,
    readers: AnyPool,
    policy: Policy,
    sql: &'static Queries,
    reign: Reign,
    observer: Option<Arc<dyn Observer>>,
}

/// Hears how long operations took, waits for a connection included, whether they succeeded or not.
pub trait Observer: fmt::Debug + Send + Sync {
    /// `operation` is a name of a method of [`Store`].
    fn took(&self, operation: &'static str, time: Duration);
}

/// Why this process may write.
#[derive(Debug)]
enum Reign {
    /// It owns the database file, for as long as it lives.
    File { _lock: FileLock },
    /// It holds the leader's row, for a time.
    Row(Arc<Leadership>),
}

/// The only term of a table that one process owns by a file lock.
const OWNED: Term = Term(1);

/// A connection, in a transaction where something is written, with the statements of its database.
struct Tx<'a> {
    db: &'a mut AnyConnection,
    sql: &'static Queries,
}

impl SqlStore {
    /// Closes all connections.
    pub async fn close(self) {
        self.readers.close().await;
        self.writers.close().await;
    }

    /// The same table, whose operations an observer hears of.
    #[must_use]
    pub fn observed(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let began = Instant::now();
        let done = work.await;
        if let Some(observer) = &self.observer {
            observer.took(operation, began.elapsed());
        }
        done
    }

    /// Begins a write of the reigning term, which reigns until the write has ended.
    async fn write(&self, at: Stamp) -> Result<Transaction<'static, Any>> {
        let stale = |current| StoreError::StaleTerm { given: at.term, current };
        match &self.reign {
            Reign::File { .. } if at.term != OWNED => Err(stale(OWNED)),
            Reign::File { .. } => Ok(self.writers.begin_with("BEGIN IMMEDIATE").await?),
            Reign::Row(leadership) => {
                let mut tx: Transaction<'static, Any> = self.writers.begin().await?;
                let current = leadership.confirm(&mut tx).await?;
                if current == at.term { Ok(tx) } else { Err(stale(current)) }
            }
        }
    }

    /// The statements over a connection.
    fn over<'a>(&self, db: &'a mut AnyConnection) -> Tx<'a> {
        Tx { db, sql: self.sql }
    }
}

/// Carries a write out: all of it or nothing.
macro_rules! write {
    ($self:ident, $at:ident, $tx:ident => $module:ident::$operation:ident($($input:tt)*)) => {{
        let work = async {
            let mut transaction = $self.write($at).await?;
            let $tx = &mut $self.over(&mut transaction);
            let answer = $module::$operation($($input)*).await?;
            transaction.commit().await?;
            Ok(answer)
        };
        $self.timed(stringify!($operation), work).await
    }};
}

/// Reads over a connection of its own. Several statements see one state of the table with `begin`.
macro_rules! read {
    ($self:ident, $how:ident, $tx:ident => $module:ident::$operation:ident($($input:tt)*)) => {{
        let work = async {
            let mut connection = $self.readers.$how().await?;
            let $tx = &mut $self.over(&mut connection);
            $module::$operation($($input)*).await
        };
        $self.timed(stringify!($operation), work).await
    }};
}

#[async_trait]
impl Store for SqlStore {
    fn term(&self) -> Term {
        match &self.reign {
            Reign::File { .. } => OWNED,
            Reign::Row(leadership) => leadership.term(),
        }
    }

    async fn submit(&self, at: Stamp, sweep: NewSweep) -> Result<Submitted> {
        write!(self, at, tx => sweeps::submit(tx, at, &self.policy, &sweep))
    }

    async fn cancel(&self, at: Stamp, selection: Selection) -> Result<u64> {
        write!(self, at, tx => sweeps::cancel(tx, at, &selection))
    }

    async fn retry(&self, at: Stamp, selection: Selection) -> Result<u64> {
        write!(self, at, tx => sweeps::retry(tx, at, &self.policy, &selection))
    }

    async fn waive(&self, at: Stamp, selection: Selection) -> Result<u64> {
        write!(self, at, tx => waive::waive(tx, at, &selection))
    }

    async fn register(&self, at: Stamp, session: NewSession, held: Vec<Task>) -> Result<Registered> {
        write!(self, at, tx => sessions::register(tx, at, &self.policy, &session, &held))
    }

    async fn claim(&self, at: Stamp, claims: Vec<Claim>) -> Result<Vec<Result<Vec<Offer>>>> {
        write!(self, at, tx => claim::claim(tx, at, &self.policy, &claims))
    }

    async fn heartbeat(&self, at: Stamp, beats: Vec<Beat>) -> Result<Vec<Result<Told>>> {
        write!(self, at, tx => sessions::heartbeat(tx, at, &self.policy, &beats))
    }

    async fn record_progress(&self, at: Stamp, progress: Vec<(Task, Progress)>) -> Result<()> {
        write!(self, at, tx => work::record_progress(tx, at, &progress))
    }

    async fn checkpoint(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        checkpoint: RecordedCheckpoint,
        blobs: Vec<Digest>,
    ) -> Result<()> {
        write!(self, at, tx => work::checkpoint(tx, at, &self.policy, worker, task, &checkpoint, &blobs))
    }

    async fn complete(&self, at: Stamp, commits: Vec<Commit>) -> Result<Vec<Result<Artifact>>> {
        write!(self, at, tx => work::complete(tx, at, &self.policy, &commits))
    }

    async fn fail(&self, at: Stamp, worker: WorkerId, task: Task, ending: Ending) -> Result<()> {
        write!(self, at, tx => work::fail(tx, at, &self.policy, worker, task, &ending))
    }

    async fn expire(&self, at: Stamp, serving_since: Micros) -> Result<u64> {
        write!(self, at, tx => sessions::expire(tx, at, &self.policy, serving_since))
    }

    async fn stall(&self, at: Stamp, serving_since: Micros) -> Result<u64> {
        write!(self, at, tx => work::stall(tx, at, &self.policy, serving_since))
    }

    async fn promote(&self, at: Stamp) -> Result<u64> {
        write!(self, at, tx => work::promote(tx, at))
    }

    async fn drain(&self, at: Stamp, worker: &str, order: Option<Duration>) -> Result<bool> {
        write!(self, at, tx => sessions::drain(tx, at, worker, order))
    }

    async fn set_quota(&self, at: Stamp, owner: &str, max_lanes: Option<u64>) -> Result<()> {
        write!(self, at, tx => upkeep::set_quota(tx, owner, max_lanes))
    }

    async fn condemn(&self, at: Stamp, digests: Vec<Digest>) -> Result<()> {
        write!(self, at, tx => upkeep::condemn(tx, at, &digests))
    }

    async fn absolve(&self, at: Stamp, digests: Vec<Digest>) -> Result<()> {
        write!(self, at, tx => upkeep::absolve(tx, &digests))
    }

    async fn absolve_before(&self, at: Stamp, before: Micros) -> Result<u64> {
        write!(self, at, tx => upkeep::absolve_before(tx, before))
    }

    async fn create_token(&self, at: Stamp, token: NewToken) -> Result<()> {
        write!(self, at, tx => upkeep::create_token(tx, at, &token))
    }

    async fn revoke_token(&self, at: Stamp, name: &str) -> Result<bool> {
        write!(self, at, tx => upkeep::revoke_token(tx, at, name))
    }

    async fn quotas(&self) -> Result<Vec<Quota>> {
        read!(self, acquire, tx => upkeep::quotas(tx))
    }

    async fn roots(&self) -> Result<Vec<Artifact>> {
        read!(self, acquire, tx => upkeep::roots(tx))
    }

    async fn artifacts(&self, sweep: Option<SweepId>) -> Result<Vec<ArtifactView>> {
        read!(self, acquire, tx => view::artifacts(tx, sweep))
    }

    async fn condemned(&self) -> Result<Vec<Digest>> {
        read!(self, acquire, tx => upkeep::condemned(tx))
    }

    async fn tokens(&self) -> Result<Vec<TokenView>> {
        read!(self, acquire, tx => upkeep::tokens(tx))
    }

    async fn bearer(&self, hash: Digest) -> Result<Option<Bearer>> {
        read!(self, acquire, tx => upkeep::bearer(tx, hash))
    }

    async fn newest(&self, job: JobId) -> Result<Option<Newest>> {
        read!(self, acquire, tx => view::newest(tx, job))
    }

    async fn situation(&self, job: JobId) -> Result<Option<Situation>> {
        read!(self, begin, tx => upkeep::situation(tx, &self.policy, job))
    }

    async fn find_sweep(&self, id_or_name: &str) -> Result<Option<SweepRow>> {
        read!(self, acquire, tx => view::find_sweep(tx, id_or_name))
    }

    async fn sweeps(&self) -> Result<Vec<SweepRow>> {
        read!(self, acquire, tx => view::sweeps(tx))
    }

    async fn sweep(&self, sweep: SweepId) -> Result<Option<SweepView>> {
        read!(self, begin, tx => view::sweep(tx, sweep))
    }

    async fn workers(&self) -> Result<Vec<WorkerView>> {
        read!(self, acquire, tx => view::workers(tx, &self.policy))
    }

    async fn jobs(&self, filter: JobFilter) -> Result<JobPage> {
        read!(self, begin, tx => view::jobs(tx, &filter))
    }

    async fn states(&self, keys: Vec<JobKey>) -> Result<BTreeMap<JobKey, JobState>> {
        read!(self, acquire, tx => view::states(tx, &keys))
    }

    async fn facts(&self) -> Result<Vec<JobFacts>> {
        read!(self, begin, tx => view::facts(tx))
    }

    async fn totals(&self) -> Result<Totals> {
        read!(self, begin, tx => view::totals(tx))
    }

    async fn events(&self, after: i64, limit: u32) -> Result<Vec<EventView>> {
        read!(self, acquire, tx => view::events(tx, after, limit))
    }
}

#[cfg(test)]
mod tests;
