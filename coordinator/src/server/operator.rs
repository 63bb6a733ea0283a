//! What operators call.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coordinator_store::model::{JobFilter, Selection, SweepRow, WorkerState};
use futures::Stream;
use futures::stream::unfold;
use proto::id::{JobId, SweepId};
use proto::v1;
use proto::v1::operator_server::Operator;
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::{Request, Response, Status};

use super::planner::{PlanRequest, Planned};
use super::{Context, encode, refuse, submit};

/// The shortest time between two snapshots of one watcher.
const WATCH_PACE: Duration = Duration::from_millis(200);
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

    #[tracing::instrument(skip_all, fields(sweep))]
    async fn submit(&self, request: Request<v1::PlanRequest>) -> Result<Response<v1::SubmitReply>, Status> {
        let (planned, preview) = self.planned(request.into_inner()).await?;
        self.0.planner.import(&planned).await.map_err(refuse::by_planner)?;
        let sweep = submit::new_sweep(&planned)?;
        let submitted = self.0.store.submit(self.0.stamp(), sweep).await.map_err(refuse::by_store)?;
        tracing::Span::current().record("sweep", submitted.sweep.0);
        tracing::info!(
            name = planned.name,
            jobs = planned.jobs.len(),
            joined = submitted.joined,
            "sweep submitted"
        );
        self.0.jobs_moved();
        Ok(Response::new(v1::SubmitReply { sweep: submitted.sweep.0, plan: Some(preview) }))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let rows = match request.into_inner().sweep.as_str() {
            "" => self.0.store.sweeps().await.map_err(refuse::by_store)?,
            text => vec![self.0.find(text).await?],
        };
        let mut sweeps = Vec::new();
        for row in rows {
            sweeps.extend(self.0.snapshot(row.id).await?);
        }
        let now = self.0.now();
        let workers = self.0.store.workers().await.map_err(refuse::by_store)?;
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
        let selection = self.selection(request.into_inner()).await?;
        let sweep = selection.sweep;
        let changed = self.0.store.cancel(self.0.stamp(), selection).await.map_err(refuse::by_store)?;
        tracing::info!(%sweep, changed, "jobs cancelled");
        self.0.jobs_moved();
        Ok(Response::new(v1::SelectReply { changed }))
    }

    async fn retry(&self, request: Request<v1::SelectRequest>) -> Result<Response<v1::SelectReply>, Status> {
        let selection = self.selection(request.into_inner()).await?;
        let sweep = selection.sweep;
        let changed = self.0.store.retry(self.0.stamp(), selection).await.map_err(refuse::by_store)?;
        tracing::info!(%sweep, changed, "jobs given a fresh budget");
        self.0.jobs_moved();
        Ok(Response::new(v1::SelectReply { changed }))
    }
}

impl OperatorService {
    /// Plans a manifest and compares the plan with the table.
    async fn planned(&self, message: v1::PlanRequest) -> Result<(Planned, v1::PlanReply), Status> {
        let v1::PlanRequest { manifest, folder, file } = message;
        let request = PlanRequest { manifest, folder: folder.into(), file };
        let planned = self.0.planner.plan(request).await.map_err(refuse::by_planner)?;
        let keys = planned.jobs.iter().map(|job| job.key).collect();
        let states = self.0.store.states(keys).await.map_err(refuse::by_store)?;
        let preview = submit::preview(&planned, &states);
        Ok((planned, preview))
    }

    async fn selection(&self, message: v1::SelectRequest) -> Result<Selection, Status> {
        let sweep = self.0.find(&message.sweep).await?.id;
        Ok(Selection { sweep, jobs: message.jobs.into_iter().map(JobId).collect() })
    }
}

impl Context {
    /// A sweep by id, or the newest of a name.
    async fn find(&self, id_or_name: &str) -> Result<SweepRow, Status> {
        let found = self.store.find_sweep(id_or_name).await.map_err(refuse::by_store)?;
        found.ok_or_else(|| Status::not_found(format!("there is no sweep `{id_or_name}`")))
    }

    /// A sweep's status now.
    async fn snapshot(&self, sweep: SweepId) -> Result<Option<v1::Sweep>, Status> {
        let Some(view) = self.store.sweep(sweep).await.map_err(refuse::by_store)? else { return Ok(None) };
        let workers = self.store.workers().await.map_err(refuse::by_store)?;
        let live = workers.iter().filter(|worker| worker.state == WorkerState::Live);
        let lanes = live.map(|worker| worker.lanes.len()).sum::<usize>();
        let lanes = u32::try_from(lanes).unwrap_or(u32::MAX);
        Ok(Some(encode::sweep(view, &self.unwritten_progress(), lanes)))
    }
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
    /// The next snapshot that differs from the last.
    async fn step(mut self) -> Option<(Result<v1::Sweep, Status>, Self)> {
        while !self.ended {
            let shutdown = self.context.shutdown.clone();
            if self.last.is_some() && shutdown.run_until_cancelled(self.wait()).await.is_none() {
                return None;
            }
            let snapshot = match self.context.snapshot(self.sweep).await {
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
