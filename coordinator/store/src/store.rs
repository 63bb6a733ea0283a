//! The trait of the job table.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_core::explain::Situation;
use coordinator_core::invariants::JobFacts;
use coordinator_core::offer::Quota;
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use proto::id::{Digest, JobId, JobKey, SweepId, Term, WorkerId};
use proto::pipe::Task;
use proto::state::JobState;

use crate::error::Result;
use crate::model::{
    Artifact, ArtifactView, Bearer, Beat, Claim, Commit, Ending, EventView, JobFilter, JobPage, NewSession,
    NewSweep, NewToken, Newest, Offer, RecordedCheckpoint, Registered, Selection, Stamp, Submitted, SweepRow,
    SweepView, TokenView, Told, Totals, WorkerView,
};

/// The job table. Each method is one transaction; a write that is repeated changes nothing more. Errors leave the table as it was.
/// Methods that take several writes answer each by itself: one that is refused hinders no other.
#[async_trait]
pub trait Store: Send + Sync {
    /// The term in which this table is held.
    fn term(&self) -> Term;

    /// Records a sweep and its jobs. Jobs are shared by key: what has succeeded stays so, what runs is joined, what failed or was
    /// cancelled gets a fresh budget. A live or succeeded sweep with the same manifest digest is joined instead.
    async fn submit(&self, at: Stamp, sweep: NewSweep) -> Result<Submitted>;

    /// Ends a sweep's jobs, or some of them, unless another live sweep needs them. Without `jobs` the sweep itself ends. Returns how
    /// many jobs changed.
    async fn cancel(&self, at: Stamp, selection: Selection) -> Result<u64>;

    /// Gives failed, cancelled and waived jobs of a sweep a fresh budget and reopens the sweep. Returns how many jobs changed.
    async fn retry(&self, at: Stamp, selection: Selection) -> Result<u64>;

    /// Waives jobs of a sweep that no worker holds: what reads their results goes on without them, under a key of its own. Refused when
    /// a job that waits, and is not waived itself, cannot do without one. Returns how many jobs changed.
    async fn waive(&self, at: Stamp, selection: Selection) -> Result<u64>;

    /// Opens or renews a session: `held` is all that the worker has. An older process of the same name loses its session at once.
    async fn register(&self, at: Stamp, session: NewSession, held: Vec<Task>) -> Result<Registered>;

    /// Leases ready jobs to lanes, one after another, as [`coordinator_core::offer::choose`] decides. Each job gets a new attempt.
    async fn claim(&self, at: Stamp, claims: Vec<Claim>) -> Result<Vec<Result<Vec<Offer>>>>;

    /// Renews sessions' leases, marks what runs, takes back offers that never arrived.
    async fn heartbeat(&self, at: Stamp, beats: Vec<Beat>) -> Result<Vec<Result<Told>>>;

    /// Writes progress down. An attempt that has ended is passed over: progress is a hint.
    async fn record_progress(&self, at: Stamp, progress: Vec<(Task, Progress)>) -> Result<()>;

    /// Records a checkpoint of a living attempt; the newest two of a job are kept.
    async fn checkpoint(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        checkpoint: RecordedCheckpoint,
        blobs: Vec<Digest>,
    ) -> Result<()>;

    /// Commits attempts' results and makes what only waited for them ready. Returns each job's artifact: this one, or the one that
    /// was committed before.
    async fn complete(&self, at: Stamp, commits: Vec<Commit>) -> Result<Vec<Result<Artifact>>>;

    /// Ends an attempt without a result, as [`coordinator_core::retry::on_failure`] decides.
    async fn fail(&self, at: Stamp, worker: WorkerId, task: Task, ending: Ending) -> Result<()>;

    /// Takes the jobs of silent sessions back. `serving_since` starts the warm-up. Returns how many jobs became ready.
    async fn expire(&self, at: Stamp, serving_since: Micros) -> Result<u64>;

    /// Ends running attempts that have shown no progress for too long. Returns how many.
    async fn stall(&self, at: Stamp, serving_since: Micros) -> Result<u64>;

    /// Orders a worker, by name, to take no more jobs and to end or give back what it has within a grace; `None` calls the order off
    /// and forgives what the worker was blamed for. False when there is no such worker.
    async fn drain(&self, at: Stamp, worker: &str, order: Option<Duration>) -> Result<bool>;

    /// Makes jobs ready whose wait after a failure is over. Returns how many.
    async fn promote(&self, at: Stamp) -> Result<u64>;

    /// Limits the lanes that hold jobs of an owner at a time; `None` lifts the limit.
    async fn set_quota(&self, at: Stamp, owner: &str, max_lanes: Option<u64>) -> Result<()>;

    /// Marks blobs and manifests, by digest, as about to be deleted: from now on no commit may name them. Marking again makes the mark
    /// newer.
    async fn condemn(&self, at: Stamp, digests: Vec<Digest>) -> Result<()>;

    /// Lifts that mark.
    async fn absolve(&self, at: Stamp, digests: Vec<Digest>) -> Result<()>;

    /// Lifts the marks that are older than `before`. Returns how many.
    async fn absolve_before(&self, at: Stamp, before: Micros) -> Result<u64>;

    /// Records a bearer token.
    async fn create_token(&self, at: Stamp, token: NewToken) -> Result<()>;

    /// Takes a token's rights away. False when there is no such token or it has none.
    async fn revoke_token(&self, at: Stamp, name: &str) -> Result<bool>;

    /// Limits of owners, with how many lanes each has.
    async fn quotas(&self) -> Result<Vec<Quota>>;

    /// Every artifact that the table refers to: results, checkpoints to resume from, inputs.
    async fn roots(&self) -> Result<Vec<Artifact>>;

    /// The same with what each is and to which job; only of a sweep's jobs where one is named. By job, results first.
    async fn artifacts(&self, sweep: Option<SweepId>) -> Result<Vec<ArtifactView>>;

    /// What is marked as about to be deleted.
    async fn condemned(&self) -> Result<Vec<Digest>>;

    /// All tokens, by name.
    async fn tokens(&self) -> Result<Vec<TokenView>>;

    /// Who holds the token with a hash, unless it was revoked.
    async fn bearer(&self, hash: Digest) -> Result<Option<Bearer>>;

    /// A job's key, newest attempt and state.
    async fn newest(&self, job: JobId) -> Result<Option<Newest>>;

    /// Why a job stands where it stands.
    async fn situation(&self, job: JobId) -> Result<Option<Situation>>;

    /// A sweep by id, or the newest of a name.
    async fn find_sweep(&self, id_or_name: &str) -> Result<Option<SweepRow>>;

    /// All sweeps, newest first.
    async fn sweeps(&self) -> Result<Vec<SweepRow>>;

    /// One sweep with what status needs.
    async fn sweep(&self, sweep: SweepId) -> Result<Option<SweepView>>;

    /// Live and lost sessions, by name. Of a name only the newest.
    async fn workers(&self) -> Result<Vec<WorkerView>>;

    /// Some jobs of a sweep.
    async fn jobs(&self, filter: JobFilter) -> Result<JobPage>;

    /// Where jobs stand, by key. Unknown keys are absent.
    async fn states(&self, keys: Vec<JobKey>) -> Result<BTreeMap<JobKey, JobState>>;

    /// What [`coordinator_core::invariants`] checks, for every job. For tests and `check`: it reads the whole table.
    async fn facts(&self) -> Result<Vec<JobFacts>>;

    /// What monitors show of the whole table. Its cost grows with sweeps, workers and held jobs, not with all jobs.
    async fn totals(&self) -> Result<Totals>;

    /// The journal behind an entry, oldest first, at most `limit` entries.
    async fn events(&self, after: i64, limit: u32) -> Result<Vec<EventView>>;
}
