//! The job table in memory, for tests and the simulator. It forgets everything when its last handle is dropped; otherwise it answers
//! like the others.

mod sessions;
mod sweeps;
mod table;
mod upkeep;
mod view;
mod waive;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

use crate::error::{Result, StoreError};
use crate::model::{
    Artifact, ArtifactView, Bearer, Beat, Claim, Commit, Ending, EventView, JobFilter, JobPage, NewSession,
    NewSweep, NewToken, Newest, Offer, RecordedCheckpoint, Registered, Selection, Stamp, Submitted, SweepRow,
    SweepView, TokenView, Told, Totals, WorkerView,
};
use crate::store::Store;
use table::Table;

/// A coordinator's handle to a job table in memory.
#[derive(Debug)]
pub struct MemoryStore {
    table: Arc<Mutex<Table>>,
    /// The term that this handle's coordinator holds, or held.
    term: Term,
}

impl MemoryStore {
    /// An empty table.
    pub fn new(policy: Policy) -> Self {
        Self { table: Arc::new(Mutex::new(Table::new(policy))), term: Term(1) }
    }

    /// A new coordinator takes the same table over: from now on the writes of this handle are refused.
    pub fn successor(&self) -> Self {
        let mut table = self.read();
        table.term = Term(table.term.0 + 1);
        Self { table: Arc::clone(&self.table), term: table.term }
    }

    /// A table of its own that begins as this one is now, so that a search can try every next step.
    pub fn fork(&self) -> Self {
        Self { table: Arc::new(Mutex::new(self.read().clone())), term: self.term }
    }

    fn read(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table, for a write of the reigning term through the handle that holds it.
    fn write(&self, at: Stamp) -> Result<MutexGuard<'_, Table>> {
        let table = self.read();
        let current = if table.term == self.term { self.term } else { Term(0) };
        if at.term == current { Ok(table) } else { Err(StoreError::StaleTerm { given: at.term, current }) }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn term(&self) -> Term {
        self.term
    }

    async fn submit(&self, at: Stamp, sweep: NewSweep) -> Result<Submitted> {
        self.write(at)?.submit(at.now, sweep)
    }

    async fn cancel(&self, at: Stamp, selection: Selection) -> Result<u64> {
        self.write(at)?.cancel(at.now, &selection)
    }

    async fn retry(&self, at: Stamp, selection: Selection) -> Result<u64> {
        self.write(at)?.retry(at.now, &selection)
    }

    async fn waive(&self, at: Stamp, selection: Selection) -> Result<u64> {
        self.write(at)?.waive(at.now, &selection)
    }

    async fn register(&self, at: Stamp, session: NewSession, held: Vec<Task>) -> Result<Registered> {
        self.write(at)?.register(at.now, session, held)
    }

    async fn claim(&self, at: Stamp, claims: Vec<Claim>) -> Result<Vec<Result<Vec<Offer>>>> {
        let mut table = self.write(at)?;
        Ok(claims.iter().map(|claim| table.claim(at.now, claim)).collect())
    }

    async fn heartbeat(&self, at: Stamp, beats: Vec<Beat>) -> Result<Vec<Result<Told>>> {
        let mut table = self.write(at)?;
        Ok(beats.iter().map(|beat| table.heartbeat(at.now, beat)).collect())
    }

    async fn record_progress(&self, at: Stamp, progress: Vec<(Task, Progress)>) -> Result<()> {
        self.write(at)?.record_progress(at.now, &progress);
        Ok(())
    }

    async fn checkpoint(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        checkpoint: RecordedCheckpoint,
        blobs: Vec<Digest>,
    ) -> Result<()> {
        self.write(at)?.checkpoint(worker, task, checkpoint, &blobs)
    }

    async fn complete(&self, at: Stamp, commits: Vec<Commit>) -> Result<Vec<Result<Artifact>>> {
        let mut table = self.write(at)?;
        Ok(commits.into_iter().map(|commit| table.complete(at.now, commit)).collect())
    }

    async fn fail(&self, at: Stamp, worker: WorkerId, task: Task, ending: Ending) -> Result<()> {
        self.write(at)?.fail(at.now, worker, task, ending)
    }

    async fn expire(&self, at: Stamp, serving_since: Micros) -> Result<u64> {
        self.write(at)?.expire(at.now, serving_since)
    }

    async fn stall(&self, at: Stamp, serving_since: Micros) -> Result<u64> {
        self.write(at)?.stall(at.now, serving_since)
    }

    async fn drain(&self, at: Stamp, worker: &str, order: Option<Duration>) -> Result<bool> {
        Ok(self.write(at)?.drain(worker, order))
    }

    async fn promote(&self, at: Stamp) -> Result<u64> {
        self.write(at)?.promote(at.now)
    }

    async fn set_quota(&self, at: Stamp, owner: &str, max_lanes: Option<u64>) -> Result<()> {
        self.write(at)?.set_quota(owner, max_lanes);
        Ok(())
    }

    async fn condemn(&self, at: Stamp, digests: Vec<Digest>) -> Result<()> {
        self.write(at)?.condemned.extend(digests.into_iter().map(|digest| (digest, at.now)));
        Ok(())
    }

    async fn absolve(&self, at: Stamp, digests: Vec<Digest>) -> Result<()> {
        self.write(at)?.condemned.retain(|digest, _| !digests.contains(digest));
        Ok(())
    }

    async fn absolve_before(&self, at: Stamp, before: Micros) -> Result<u64> {
        Ok(self.write(at)?.absolve_before(before))
    }

    async fn create_token(&self, at: Stamp, token: NewToken) -> Result<()> {
        self.write(at)?.create_token(at.now, token)
    }

    async fn revoke_token(&self, at: Stamp, name: &str) -> Result<bool> {
        Ok(self.write(at)?.revoke_token(at.now, name))
    }

    async fn quotas(&self) -> Result<Vec<Quota>> {
        Ok(self.read().quotas())
    }

    async fn roots(&self) -> Result<Vec<Artifact>> {
        Ok(self.read().roots())
    }

    async fn artifacts(&self, sweep: Option<SweepId>) -> Result<Vec<ArtifactView>> {
        Ok(self.read().artifacts(sweep))
    }

    async fn condemned(&self) -> Result<Vec<Digest>> {
        Ok(self.read().condemned.keys().copied().collect())
    }

    async fn tokens(&self) -> Result<Vec<TokenView>> {
        Ok(self.read().tokens())
    }

    async fn bearer(&self, hash: Digest) -> Result<Option<Bearer>> {
        Ok(self.read().bearer(hash))
    }

    async fn newest(&self, job: JobId) -> Result<Option<Newest>> {
        let table = self.read();
        let job = table.jobs.get(&job);
        Ok(job.map(|job| Newest { key: job.planned.key, attempt: job.attempt, state: job.state }))
    }

    async fn situation(&self, job: JobId) -> Result<Option<Situation>> {
        Ok(self.read().situation(job))
    }

    async fn find_sweep(&self, id_or_name: &str) -> Result<Option<SweepRow>> {
        Ok(self.read().find_sweep(id_or_name))
    }

    async fn sweeps(&self) -> Result<Vec<SweepRow>> {
        Ok(self.read().all_sweeps())
    }

    async fn sweep(&self, sweep: SweepId) -> Result<Option<SweepView>> {
        Ok(self.read().sweep_view(sweep))
    }

    async fn workers(&self) -> Result<Vec<WorkerView>> {
        Ok(self.read().worker_views())
    }

    async fn jobs(&self, filter: JobFilter) -> Result<JobPage> {
        Ok(self.read().job_page(&filter))
    }

    async fn states(&self, keys: Vec<JobKey>) -> Result<BTreeMap<JobKey, JobState>> {
        Ok(self.read().states(&keys))
    }

    async fn facts(&self) -> Result<Vec<JobFacts>> {
        Ok(self.read().facts())
    }

    async fn totals(&self) -> Result<Totals> {
        Ok(self.read().totals())
    }

    async fn events(&self, after: i64, limit: u32) -> Result<Vec<EventView>> {
        let table = self.read();
        let behind = table.events.iter().filter(|event| event.seq > after);
        Ok(behind.take(limit as usize).cloned().collect())
    }
}
