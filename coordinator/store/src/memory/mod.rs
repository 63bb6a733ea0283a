//! The job table in memory, for tests and the simulator. It forgets everything when dropped; otherwise it answers like the others.

mod sessions;
mod sweeps;
mod table;
mod view;
mod work;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use coordinator_core::invariants::JobFacts;
use coordinator_core::policy::Policy;
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use proto::id::{JobKey, SweepId, Term, WorkerId};
use proto::pipe::Task;
use proto::state::JobState;

use crate::error::{Result, StoreError};
use crate::model::{
    Artifact, Claim, Completion, Ending, EventView, Held, JobFilter, JobPage, NewSession, NewSweep, Offer,
    RecordedCheckpoint, Registered, Selection, Stamp, Submitted, SweepRow, SweepView, WorkerView,
};
use crate::store::Store;
use table::Table;

/// The only term of a table that nobody else can reach.
const TERM: Term = Term(1);

/// The job table in memory.
#[derive(Debug)]
pub struct MemoryStore {
    table: Mutex<Table>,
}

impl MemoryStore {
    /// An empty table.
    pub fn new(policy: Policy) -> Self {
        Self { table: Mutex::new(Table::new(policy)) }
    }

    fn read(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table, for a write of the reigning term.
    fn write(&self, at: Stamp) -> Result<MutexGuard<'_, Table>> {
        if at.term == TERM {
            Ok(self.read())
        } else {
            Err(StoreError::StaleTerm { given: at.term, current: TERM })
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn term(&self) -> Term {
        TERM
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

    async fn register(&self, at: Stamp, session: NewSession, held: Vec<Task>) -> Result<Registered> {
        self.write(at)?.register(at.now, session, held)
    }

    async fn claim(&self, at: Stamp, claim: Claim) -> Result<Vec<Offer>> {
        self.write(at)?.claim(at.now, &claim)
    }

    async fn heartbeat(&self, at: Stamp, worker: WorkerId, held: Vec<Held>) -> Result<Vec<Task>> {
        self.write(at)?.heartbeat(at.now, worker, &held)
    }

    async fn record_progress(&self, at: Stamp, progress: Vec<(Task, Progress)>) -> Result<()> {
        self.write(at)?.record_progress(&progress);
        Ok(())
    }

    async fn checkpoint(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        checkpoint: RecordedCheckpoint,
    ) -> Result<()> {
        self.write(at)?.checkpoint(worker, task, checkpoint)
    }

    async fn complete(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        completion: Completion,
    ) -> Result<Artifact> {
        self.write(at)?.complete(at.now, worker, task, completion)
    }

    async fn fail(&self, at: Stamp, worker: WorkerId, task: Task, ending: Ending) -> Result<()> {
        self.write(at)?.fail(at.now, worker, task, ending)
    }

    async fn expire(&self, at: Stamp, serving_since: Micros) -> Result<u64> {
        self.write(at)?.expire(at.now, serving_since)
    }

    async fn promote(&self, at: Stamp) -> Result<u64> {
        self.write(at)?.promote(at.now)
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

    async fn events(&self) -> Result<Vec<EventView>> {
        Ok(self.read().events.clone())
    }
}
