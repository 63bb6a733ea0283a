//! The job table as a coordinator in the simulation sees it: calls take time, fail before or after they are carried out, come twice or
//! again much later. Every write that is carried out is judged at once.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_core::explain::Situation;
use coordinator_core::invariants::JobFacts;
use coordinator_core::offer::Quota;
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use coordinator_store::model::{
    Artifact, ArtifactView, Bearer, Beat, Claim, Commit, Ending, EventView, JobFilter, JobPage, NewSession,
    NewSweep, NewToken, Newest, Offer, RecordedCheckpoint, Registered, Selection, Stamp, Submitted, SweepRow,
    SweepView, TokenView, Told, Totals, WorkerView,
};
use coordinator_store::{MemoryStore, Store, StoreError};
use proto::id::{Digest, JobId, JobKey, SweepId, Term, WorkerId};
use proto::pipe::Task;
use proto::state::JobState;
use tokio::time::sleep;

use crate::history::Deed;
use crate::planted;
use crate::world::{Fate, World};

type Result<T> = std::result::Result<T, StoreError>;

/// What a database says that does not answer.
pub(crate) fn down() -> StoreError {
    StoreError::Database(sqlx::Error::PoolTimedOut)
}

/// A coordinator's handle to the table.
#[derive(Clone)]
pub(crate) struct Table {
    world: Arc<World>,
    host: String,
    inner: Arc<MemoryStore>,
}

impl Table {
    /// The handle of a coordinator on a machine.
    pub(crate) fn new(world: Arc<World>, host: &str, inner: Arc<MemoryStore>) -> Self {
        Self { world, host: host.to_owned(), inner }
    }

    /// A write, as the weather lets it.
    async fn write<T: Debug, F>(&self, deed: Deed, write: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let Self { world, host, .. } = self;
        let fate = world.arrive(host).await?;
        let mut answer = self.carry_out(&deed, &write).await;
        if fate == Fate::Twice {
            answer = self.carry_out(&deed, &write).await;
        }
        world.depart(host, fate).await?;
        answer
    }

    async fn carry_out<T: Debug, F>(&self, deed: &Deed, write: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let answer = write().await;
        match &answer {
            Ok(_) if deed.is_routine() => {}
            Ok(done) => self.world.note(&self.host, format_args!("{deed:?}: {done:?}")),
            Err(error) => self.world.note(&self.host, format_args!("{deed:?}: {error}")),
        }
        self.world.judge(|history, world| history.judge(world, self.inner.term(), deed, answer.is_ok()));
        answer
    }

    /// A read takes time, too.
    async fn read<T>(&self, read: impl Future<Output = Result<T>>) -> Result<T> {
        self.world.arrive(&self.host).await?;
        read.await
    }

    /// Commits, each judged by itself.
    async fn commit(&self, at: Stamp, commits: Vec<Commit>) -> Result<Vec<Result<Artifact>>> {
        let mut answers = Vec::new();
        for commit in commits {
            let deed = Deed::Complete(commit.worker, commit.task);
            let answer = self
                .carry_out(&deed, || async {
                    let commit = if self.world.planted {
                        planted::mend(&self.world, commit.clone())
                    } else {
                        commit.clone()
                    };
                    self.inner.complete(at, vec![commit]).await?.remove(0)
                })
                .await;
            match answer {
                Err(stale @ StoreError::StaleTerm { .. }) => return Err(stale),
                answer => answers.push(answer),
            }
        }
        Ok(answers)
    }

    /// The same commits come again after a while, as from a network that kept a copy.
    fn again_after(&self, time: Duration, at: Stamp, commits: Vec<Commit>) {
        let table = self.clone();
        tokio::spawn(async move {
            sleep(time).await;
            drop(table.commit(at, commits).await);
        });
    }
}

#[async_trait]
impl Store for Table {
    fn term(&self) -> Term {
        self.inner.term()
    }

    async fn submit(&self, at: Stamp, sweep: NewSweep) -> Result<Submitted> {
        self.write(Deed::Submit, || self.inner.submit(at, sweep.clone())).await
    }

    async fn cancel(&self, at: Stamp, selection: Selection) -> Result<u64> {
        self.write(Deed::Cancel, || self.inner.cancel(at, selection.clone())).await
    }

    async fn retry(&self, at: Stamp, selection: Selection) -> Result<u64> {
        self.write(Deed::Retry, || self.inner.retry(at, selection.clone())).await
    }

    async fn waive(&self, at: Stamp, selection: Selection) -> Result<u64> {
        self.write(Deed::Waive, || self.inner.waive(at, selection.clone())).await
    }

    async fn register(&self, at: Stamp, session: NewSession, held: Vec<Task>) -> Result<Registered> {
        let deed = Deed::Register(session.name.clone(), session.incarnation.clone(), held.clone());
        self.write(deed, || self.inner.register(at, session.clone(), held.clone())).await
    }

    async fn claim(&self, at: Stamp, claims: Vec<Claim>) -> Result<Vec<Result<Vec<Offer>>>> {
        let fate = self.world.arrive(&self.host).await?;
        let answers = self.inner.claim(at, claims.clone()).await;
        for (claim, answer) in claims.iter().zip(answers.iter().flatten()) {
            let offered: Vec<_> = answer.iter().flatten().map(|offer| offer.task).collect();
            if !offered.is_empty() {
                let deed = Deed::Claim(claim.worker, claim.lane, offered);
                self.carry_out(&deed, || async { Ok(()) }).await?;
            }
        }
        self.world.depart(&self.host, fate).await?;
        answers
    }

    async fn heartbeat(&self, at: Stamp, beats: Vec<Beat>) -> Result<Vec<Result<Told>>> {
        let workers = beats.iter().map(|beat| beat.worker).collect();
        self.write(Deed::Heartbeat(workers), || self.inner.heartbeat(at, beats.clone())).await
    }

    async fn record_progress(&self, at: Stamp, progress: Vec<(Task, Progress)>) -> Result<()> {
        self.write(Deed::Progress, || self.inner.record_progress(at, progress.clone())).await
    }

    async fn checkpoint(
        &self,
        at: Stamp,
        worker: WorkerId,
        task: Task,
        checkpoint: RecordedCheckpoint,
        blobs: Vec<Digest>,
    ) -> Result<()> {
        let deed = Deed::Checkpoint(worker, task, checkpoint.step);
        self.write(deed, || self.inner.checkpoint(at, worker, task, checkpoint.clone(), blobs.clone())).await
    }

    async fn complete(&self, at: Stamp, commits: Vec<Commit>) -> Result<Vec<Result<Artifact>>> {
        let fate = self.world.arrive(&self.host).await?;
        if let Fate::Strays(time) = fate {
            self.again_after(time, at, commits.clone());
            self.world.bereave(&commits);
            return Err(down());
        }
        let mut answers = self.commit(at, commits.clone()).await;
        match fate {
            Fate::Twice => answers = self.commit(at, commits).await,
            Fate::Late(time) => self.again_after(time, at, commits),
            _ => {}
        }
        self.world.depart(&self.host, fate).await?;
        answers
    }

    async fn fail(&self, at: Stamp, worker: WorkerId, task: Task, ending: Ending) -> Result<()> {
        let released = ending == Ending::Released;
        self.write(Deed::Fail(worker, task, released), || self.inner.fail(at, worker, task, ending.clone()))
            .await
    }

    async fn expire(&self, at: Stamp, serving_since: Micros) -> Result<u64> {
        self.write(Deed::Expire, || self.inner.expire(at, serving_since)).await
    }

    async fn stall(&self, at: Stamp, serving_since: Micros) -> Result<u64> {
        self.write(Deed::Stall, || self.inner.stall(at, serving_since)).await
    }

    async fn drain(&self, at: Stamp, worker: &str, order: Option<Duration>) -> Result<bool> {
        self.write(Deed::Drain, || self.inner.drain(at, worker, order)).await
    }

    async fn promote(&self, at: Stamp) -> Result<u64> {
        self.write(Deed::Promote, || self.inner.promote(at)).await
    }

    async fn set_quota(&self, at: Stamp, owner: &str, max_lanes: Option<u64>) -> Result<()> {
        self.write(Deed::Upkeep, || self.inner.set_quota(at, owner, max_lanes)).await
    }

    async fn condemn(&self, at: Stamp, digests: Vec<Digest>) -> Result<()> {
        self.write(Deed::Upkeep, || self.inner.condemn(at, digests.clone())).await
    }

    async fn absolve(&self, at: Stamp, digests: Vec<Digest>) -> Result<()> {
        self.write(Deed::Upkeep, || self.inner.absolve(at, digests.clone())).await
    }

    async fn absolve_before(&self, at: Stamp, before: Micros) -> Result<u64> {
        self.write(Deed::Upkeep, || self.inner.absolve_before(at, before)).await
    }

    async fn create_token(&self, at: Stamp, token: NewToken) -> Result<()> {
        self.write(Deed::Upkeep, || self.inner.create_token(at, token.clone())).await
    }

    async fn revoke_token(&self, at: Stamp, name: &str) -> Result<bool> {
        self.write(Deed::Upkeep, || self.inner.revoke_token(at, name)).await
    }

    async fn quotas(&self) -> Result<Vec<Quota>> {
        self.read(self.inner.quotas()).await
    }

    async fn roots(&self) -> Result<Vec<Artifact>> {
        self.read(self.inner.roots()).await
    }

    async fn artifacts(&self, sweep: Option<SweepId>) -> Result<Vec<ArtifactView>> {
        self.read(self.inner.artifacts(sweep)).await
    }

    async fn condemned(&self) -> Result<Vec<Digest>> {
        self.read(self.inner.condemned()).await
    }

    async fn tokens(&self) -> Result<Vec<TokenView>> {
        self.read(self.inner.tokens()).await
    }

    async fn bearer(&self, hash: Digest) -> Result<Option<Bearer>> {
        self.read(self.inner.bearer(hash)).await
    }

    async fn newest(&self, job: JobId) -> Result<Option<Newest>> {
        self.read(self.inner.newest(job)).await
    }

    async fn situation(&self, job: JobId) -> Result<Option<Situation>> {
        self.read(self.inner.situation(job)).await
    }

    async fn find_sweep(&self, id_or_name: &str) -> Result<Option<SweepRow>> {
        self.read(self.inner.find_sweep(id_or_name)).await
    }

    async fn sweeps(&self) -> Result<Vec<SweepRow>> {
        self.read(self.inner.sweeps()).await
    }

    async fn sweep(&self, sweep: SweepId) -> Result<Option<SweepView>> {
        self.read(self.inner.sweep(sweep)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerView>> {
        self.read(self.inner.workers()).await
    }

    async fn jobs(&self, filter: JobFilter) -> Result<JobPage> {
        self.read(self.inner.jobs(filter)).await
    }

    async fn states(&self, keys: Vec<JobKey>) -> Result<BTreeMap<JobKey, JobState>> {
        self.read(self.inner.states(keys)).await
    }

    async fn facts(&self) -> Result<Vec<JobFacts>> {
        self.read(self.inner.facts()).await
    }

    async fn totals(&self) -> Result<Totals> {
        self.read(self.inner.totals()).await
    }

    async fn events(&self, after: i64, limit: u32) -> Result<Vec<EventView>> {
        self.read(self.inner.events(after, limit)).await
    }
}
