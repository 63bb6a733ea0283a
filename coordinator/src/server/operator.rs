//! What operators call.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coordinator_core::explain::explain;
use coordinator_core::offer::Quota;
use coordinator_store::model::{JobFilter, JobView, Selection, SweepRow, WorkerState, WorkerView};
use futures::stream::{self, unfold};
use futures::{Stream, StreamExt, TryStreamExt};
use proto::id::{JobId, SweepId};
use proto::v1;
use proto::v1::operator_server::Operator;
use proto_kit::trace;
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::{Request, Response, Status};
use tracing::Span;
use tracing::field::Empty;

use super::change::Change;
use super::planner::{PlanRequest, Planned};
use super::select::{self, Conditions};
use super::{Context, encode, logs, refuse, submit, tokens, traced, upkeep};

/// The shortest time between two snapshots of one watcher.
const WATCH_PACE: Duration = Duration::from_millis(200);
/// Sweeps that are read at the same time.
const SNAPSHOTS: usize = 4;
/// How often a watcher looks without having been woken.
const SLOW_WATCH: Duration = Duration::from_secs(5);

/// The `Operator` service.
pub(crate) struct OperatorService(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl Operator for OperatorService {
    async fn hello(&self, _: Request<v1::HelloRequest>) -> Result<Response<v1::HelloReply>, Status> {
        let (version, term) = (env!("CARGO_PKG_VERSION").to_owned(), self.0.store.term().0);
        Ok(Response::new(v1::HelloReply { version, term }))
    }

    async fn plan(&self, request: Request<v1::PlanRequest>) -> Result<Response<v1::PlanReply>, Status> {
        let (_, preview) = self.planned(request.into_inner()).await?;
        Ok(Response::new(preview))
    }

    #[tracing::instrument(skip_all, fields(otel.kind = Empty, sweep))]
    async fn submit(&self, request: Request<v1::PlanRequest>) -> Result<Response<v1::SubmitReply>, Status> {
        traced::by_caller(&request);
        let message = request.into_inner();
        let (owner, priority) = (message.owner.clone(), message.priority);
        let (planned, preview) = self.planned(message).await?;
        let sweep = submit::new_sweep(&planned, owner, priority, trace::parent_of(&Span::current()))?;
        let (name, jobs) = (sweep.name.clone(), sweep.jobs.len());
        let submitted = {
            // Nothing of it is garbage until the table names it.
            let _importing = self.0.turns.importing.read().await;
            self.0.planner.import(&planned).await.map_err(refuse::by_planner)?;
            drop(planned);
            self.0.store.submit(self.0.stamp(), sweep).await.map_err(refuse::by_store)?
        };
        Span::current().record("sweep", submitted.sweep.0);
        tracing::info!(name, jobs, joined = submitted.joined, "sweep submitted");
        self.0.jobs_moved();
        Ok(Response::new(v1::SubmitReply { sweep: submitted.sweep.0, plan: Some(preview) }))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let rows = match request.into_inner().sweep.as_str() {
            "" => self.0.store.sweeps().await.map_err(refuse::by_store)?,
            text => vec![self.0.find(text).await?],
        };
        let workers = self.0.store.workers().await.map_err(refuse::by_store)?;
        let lanes = live_lanes(&workers);
        let snapshots: Vec<_> = rows.iter().map(|row| self.0.snapshot(row.id, lanes)).collect();
        let snapshots: Vec<_> = stream::iter(snapshots).buffered(SNAPSHOTS).try_collect().await?;
        let sweeps = snapshots.into_iter().flatten().collect();
        let now = self.0.now();
        let workers = workers.into_iter().map(|worker| encode::worker(worker, now)).collect();
        Ok(Response::new(v1::StatusReply { sweeps, workers }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::Sweep, Status>> + Send>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let sweep = SweepId(request.into_inner().sweep);
        let watcher = Watcher {
            context: Arc::clone(&self.0),
            sweep,
            changes: self.0.changes(),
            last: None,
            ended: false,
        };
        Ok(Response::new(Box::pin(unfold(watcher, Watcher::step))))
    }

    async fn jobs(&self, request: Request<v1::JobsRequest>) -> Result<Response<v1::JobsReply>, Status> {
        let message = request.into_inner();
        let state = match message.state.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|e| refuse::field("state", e))?),
        };
        let filter = JobFilter {
            sweep: self.0.find(&message.sweep).await?.id,
            stage: (!message.stage.is_empty()).then_some(message.stage),
            state,
            limit: if message.limit == 0 { u32::MAX } else { message.limit },
        };
        let page = self.0.store.jobs(filter).await.map_err(refuse::by_store)?;
        let newest = self.0.unwritten_progress();
        let jobs = page.jobs.into_iter().map(|job| encode::job(job, &newest)).collect();
        Ok(Response::new(v1::JobsReply { jobs, matching: page.matching }))
    }

    async fn cancel(&self, request: Request<v1::SelectRequest>) -> Result<Response<v1::SelectReply>, Status> {
        self.change(request.into_inner(), Change::Cancel).await
    }

    async fn retry(&self, request: Request<v1::SelectRequest>) -> Result<Response<v1::SelectReply>, Status> {
        self.change(request.into_inner(), Change::Retry).await
    }

    async fn waive(&self, request: Request<v1::SelectRequest>) -> Result<Response<v1::SelectReply>, Status> {
        let message = request.into_inner();
        if Conditions::read(&message)?.any_job() {
            return Err(Status::invalid_argument("say which jobs to waive, by id or by a condition"));
        }
        self.change(message, Change::Waive).await
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        let job = JobId(request.into_inner().job);
        let found = self.0.store.situation(job).await.map_err(refuse::by_store)?;
        let situation = found.ok_or_else(|| Status::not_found(format!("there is no job {job}")))?;
        Ok(Response::new(v1::ExplainReply {
            lines: explain(&situation, self.0.now()),
            label: situation.label,
            state: situation.state.name().to_owned(),
        }))
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let v1::EventsRequest { after, follow } = request.into_inner();
        let reader = JournalReader { context: Arc::clone(&self.0), changes: self.0.changes(), after, follow };
        let pages = unfold(Some(reader), JournalReader::step);
        let entries = pages.flat_map(|page| match page {
            Ok(entries) => stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(status) => stream::iter(vec![Err(status)]),
        });
        Ok(Response::new(Box::pin(entries)))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainReply>, Status> {
        let v1::DrainRequest { worker, grace_ms, off } = request.into_inner();
        let order = (!off).then(|| Duration::from_millis(grace_ms));
        let known = self.0.store.drain(self.0.stamp(), &worker, order).await.map_err(refuse::by_store)?;
        if !known {
            return Err(Status::not_found(format!("there is no worker `{worker}`")));
        }
        tracing::info!(worker, off, "drain");
        self.0.jobs_moved();
        Ok(Response::new(v1::DrainReply {}))
    }

    async fn quota(&self, request: Request<v1::QuotaRequest>) -> Result<Response<v1::QuotaReply>, Status> {
        let v1::QuotaRequest { owner, max_lanes } = request.into_inner();
        if !owner.is_empty() {
            self.0.store.set_quota(self.0.stamp(), &owner, max_lanes).await.map_err(refuse::by_store)?;
            tracing::info!(owner, max_lanes, "quota");
            self.0.jobs_moved();
        }
        let limits = self.0.store.quotas().await.map_err(refuse::by_store)?;
        let limit = |Quota { owner, max_lanes, used }| v1::quota_reply::Limit { owner, max_lanes, used };
        Ok(Response::new(v1::QuotaReply { limits: limits.into_iter().map(limit).collect() }))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenReply>, Status> {
        tokens::create(&self.0, request.into_inner()).await.map(Response::new)
    }

    async fn tokens(&self, _: Request<v1::TokensRequest>) -> Result<Response<v1::TokensReply>, Status> {
        tokens::list(&self.0).await.map(Response::new)
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenReply>, Status> {
        tokens::revoke(&self.0, request.into_inner()).await.map(Response::new)
    }

    type LogsStream = Pin<Box<dyn Stream<Item = Result<v1::LogPart, Status>> + Send>>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        Ok(Response::new(Box::pin(logs::read(&self.0, request.into_inner()).await?)))
    }

    type CollectStream = Pin<Box<dyn Stream<Item = Result<v1::CollectReply, Status>> + Send>>;

    async fn collect(
        &self,
        request: Request<v1::CollectRequest>,
    ) -> Result<Response<Self::CollectStream>, Status> {
        let collecting = upkeep::collect(&self.0, request.into_inner()).await?;
        Ok(Response::new(Box::pin(collecting)))
    }

    async fn artifacts(
        &self,
        request: Request<v1::ArtifactsRequest>,
    ) -> Result<Response<v1::ArtifactsReply>, Status> {
        Ok(Response::new(upkeep::artifacts(&self.0, request.into_inner()).await?))
    }
}

/// Reads the journal page by page.
struct JournalReader {
    context: Arc<Context>,
    changes: watch::Receiver<u64>,
    after: i64,
    follow: bool,
}

impl JournalReader {
    /// Entries of one page.
    const PAGE: u32 = 1_000;

    /// The next entries; the end where nobody follows or the coordinator stops.
    async fn step(reader: Option<Self>) -> Option<(Result<Vec<v1::Event>, Status>, Option<Self>)> {
        let mut reader = reader?;
        loop {
            let page = reader.context.store.events(reader.after, Self::PAGE).await;
            let entries = match page {
                Ok(entries) => entries,
                Err(error) => return Some((Err(refuse::by_store(error)), None)),
            };
            if let Some(last) = entries.last() {
                reader.after = last.seq;
                return Some((Ok(entries.into_iter().map(encode::event).collect()), Some(reader)));
            }
            if !reader.follow {
                return None;
            }
            tokio::select! {
                () = reader.context.shutdown.cancelled() => return None,
                _ = reader.changes.changed() => sleep(WATCH_PACE).await,
                () = sleep(SLOW_WATCH) => {}
            }
        }
    }
}

impl OperatorService {
    /// Plans a manifest and compares the plan with the table.
    async fn planned(&self, message: v1::PlanRequest) -> Result<(Planned, v1::PlanReply), Status> {
        let v1::PlanRequest { manifest, folder, file, .. } = message;
        let request = PlanRequest { manifest, folder: folder.into(), file };
        let planned = self.0.planner.plan(request).await.map_err(refuse::by_planner)?;
        let keys = planned.jobs.iter().map(|job| job.key).collect();
        let states = self.0.store.states(keys).await.map_err(refuse::by_store)?;
        let preview = submit::preview(&planned, &states);
        Ok((planned, preview))
    }

    /// Changes the jobs that meet an operator's conditions and that the change can touch, or only tells which.
    async fn change(
        &self,
        message: v1::SelectRequest,
        change: Change,
    ) -> Result<Response<v1::SelectReply>, Status> {
        let sweep = self.0.find(&message.sweep).await?.id;
        let conditions = Conditions::read(&message)?;
        if conditions.by_id_alone() && !message.preview {
            return change.carry_out(&self.0, conditions.selection(sweep)).await;
        }
        let page = self.0.store.jobs(conditions.filter(sweep)).await.map_err(refuse::by_store)?;
        let meant = |job: &JobView| change.touches(job.state) && conditions.meets(job);
        let jobs: Vec<_> = page.jobs.into_iter().filter(meant).collect();
        if message.preview || jobs.is_empty() {
            return Ok(Response::new(select::preview(&jobs, self.0.now())));
        }
        let jobs = jobs.into_iter().map(|job| job.id).collect();
        change.carry_out(&self.0, Selection { sweep, jobs }).await
    }
}

impl Context {
    /// A sweep by id, or the newest of a name.
    pub(super) async fn find(&self, id_or_name: &str) -> Result<SweepRow, Status> {
        let found = self.store.find_sweep(id_or_name).await.map_err(refuse::by_store)?;
        found.ok_or_else(|| Status::not_found(format!("there is no sweep `{id_or_name}`")))
    }

    /// A sweep's status now.
    async fn snapshot(&self, sweep: SweepId, live_lanes: u32) -> Result<Option<v1::Sweep>, Status> {
        let Some(view) = self.store.sweep(sweep).await.map_err(refuse::by_store)? else { return Ok(None) };
        Ok(Some(encode::sweep(view, &self.unwritten_progress(), live_lanes)))
    }
}

/// Lanes of workers that live.
fn live_lanes(workers: &[WorkerView]) -> u32 {
    let live = workers.iter().filter(|worker| worker.state == WorkerState::Live);
    u32::try_from(live.map(|worker| worker.lanes.len()).sum::<usize>()).unwrap_or(u32::MAX)
}

/// One operator's view of a sweep as it changes. It ends with the sweep.
struct Watcher {
    context: Arc<Context>,
    sweep: SweepId,
    changes: watch::Receiver<u64>,
    last: Option<v1::Sweep>,
    ended: bool,
}

impl Watcher {
    async fn snapshot(&self) -> Result<Option<v1::Sweep>, Status> {
        let workers = self.context.store.workers().await.map_err(refuse::by_store)?;
        self.context.snapshot(self.sweep, live_lanes(&workers)).await
    }

    /// The next snapshot that differs from the last.
    async fn step(mut self) -> Option<(Result<v1::Sweep, Status>, Self)> {
        while !self.ended {
            let shutdown = self.context.shutdown.clone();
            if self.last.is_some() && shutdown.run_until_cancelled(self.wait()).await.is_none() {
                return None;
            }
            let snapshot = match self.snapshot().await {
                Ok(Some(snapshot)) => snapshot,
                Ok(None) => {
                    return Some((
                        Err(Status::not_found(format!("there is no sweep {}", self.sweep))),
                        self.end(),
                    ));
                }
                Err(status) => return Some((Err(status), self.end())),
            };
            if self.last.as_ref() != Some(&snapshot) {
                self.ended = snapshot.finished_at != 0;
                self.last = Some(snapshot.clone());
                return Some((Ok(snapshot), self));
            }
        }
        None
    }

    /// Waits for a change, at most for a while and at least for the pace.
    async fn wait(&mut self) {
        sleep(WATCH_PACE).await;
        tokio::select! {
            _ = self.changes.changed() => {}
            () = sleep(SLOW_WATCH) => {}
        }
    }

    fn end(mut self) -> Self {
        self.ended = true;
        self
    }
}
