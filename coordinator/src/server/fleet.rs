//! What workers call.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use coordinator_store::model::{Beat, Claim, Commit, Ending, Offer, Stamp, Told};
use proto::id::{Term, WorkerId};
use proto::v1;
use proto::v1::fleet_server::Fleet;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Request, Response, Status};
use tracing::field::Empty;

use super::{Context, decode, encode, refuse, traced};

/// The longest that a lane may wait in one call.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often a waiting lane looks without having been woken.
const SLOW_POLL: Duration = Duration::from_secs(2);

/// The `Fleet` service.
pub(crate) struct FleetService(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl Fleet for FleetService {
    #[tracing::instrument(skip_all, fields(worker = request.get_ref().name))]
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        let message = request.into_inner();
        let session = decode::session(&message)?;
        let held = message.held.into_iter().map(decode::known_task).collect();
        let registered =
            self.0.store.register(self.0.stamp(), session, held).await.map_err(refuse::by_store)?;
        let (kept, fenced) = (registered.keep.len(), registered.fenced.len());
        tracing::info!(session = registered.worker.0, kept, fenced, "worker registered");
        self.0.jobs_moved();
        let policy = &self.0.settings.policy;
        Ok(Response::new(v1::RegisterReply {
            worker: registered.worker.0,
            term: self.0.store.term().0,
            lease_ttl_ms: encode::millis(policy.lease_ttl),
            heartbeat_ms: encode::millis(policy.heartbeat),
            store: self.0.settings.store_url.clone(),
            keep: registered.keep.into_iter().map(encode::task).collect(),
            fenced: registered.fenced.into_iter().map(encode::task).collect(),
        }))
    }

    #[tracing::instrument(skip_all, fields(worker = request.get_ref().worker, lane = request.get_ref().lane))]
    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireReply>, Status> {
        let message = request.into_inner();
        let claim = decode::claim(&message)?;
        let wait = Duration::from_millis(message.wait_ms).min(LONGEST_WAIT);
        let offers = self.wait_for_offers(Term(message.term), &claim, wait).await?;
        for offer in &offers {
            let task = offer.task;
            tracing::info!(job = %task.job, attempt = %task.attempt, sweep = offer.sweep, label = offer.label, "job offered");
        }
        self.0.metrics.claims.inc_by(offers.len() as u64);
        if !offers.is_empty() {
            self.0.changed();
        }
        Ok(Response::new(v1::AcquireReply { offers: offers.into_iter().map(traced::offer).collect() }))
    }

    #[tracing::instrument(level = "debug", skip_all, fields(worker = request.get_ref().worker))]
    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatReply>, Status> {
        let message = request.into_inner();
        let held = message.held.into_iter().map(decode::held).collect::<Result<Vec<_>, _>>()?;
        self.0.require_term(Term(message.term))?;
        let named = held.iter().map(|(held, _)| *held).collect();
        let beat = Beat { worker: WorkerId(message.worker), held: named, leaving: message.draining };
        let Told { fenced, drain } = self.0.batches.beats.call(beat).await?;
        self.0.metrics.heartbeats.inc();
        for gap in message.idle_gaps_us {
            self.0.metrics.idle_gaps.observe(Duration::from_micros(gap).as_secs_f64());
        }
        for (held, progress) in held {
            if let Some(progress) = progress.filter(|_| !fenced.contains(&held.task)) {
                self.0.note_progress(held.task, progress);
            }
        }
        self.0.changed();
        let stop =
            |task| v1::Directive { task: Some(encode::task(task)), kind: v1::directive::Kind::Stop.into() };
        Ok(Response::new(v1::HeartbeatReply {
            directives: fenced.into_iter().map(stop).collect(),
            drain: drain.is_some(),
            drain_grace_ms: drain.map_or(0, encode::millis),
        }))
    }

    #[tracing::instrument(skip_all, fields(otel.kind = Empty, worker = request.get_ref().worker, job, attempt))]
    async fn checkpointed(
        &self,
        request: Request<v1::CheckpointedRequest>,
    ) -> Result<Response<v1::CheckpointedReply>, Status> {
        traced::by_caller(&request);
        let message = request.into_inner();
        let (at, worker, task) = self.writer(message.term, message.worker, message.task)?;
        let (checkpoint, blobs) = decode::checkpoint(message)?;
        let step = checkpoint.step;
        self.0.store.checkpoint(at, worker, task, checkpoint, blobs).await.map_err(refuse::by_store)?;
        tracing::debug!(step, "checkpoint recorded");
        Ok(Response::new(v1::CheckpointedReply {}))
    }

    #[tracing::instrument(skip_all, fields(otel.kind = Empty, worker = request.get_ref().worker, job, attempt))]
    async fn complete(
        &self,
        request: Request<v1::CompleteRequest>,
    ) -> Result<Response<v1::CompleteReply>, Status> {
        traced::by_caller(&request);
        let message = request.into_inner();
        let (_, worker, task) = self.writer(message.term, message.worker, message.task)?;
        self.0.require_term(Term(message.term))?;
        let completion = decode::completion(message)?;
        let artifact = self.0.batches.commits.call(Commit { worker, task, completion }).await?;
        self.0.metrics.completions.inc();
        tracing::info!(artifact = %artifact.digest, "artifact committed");
        Ok(Response::new(v1::CompleteReply { artifact: Some(encode::artifact(artifact)) }))
    }

    #[tracing::instrument(skip_all, fields(otel.kind = Empty, worker = request.get_ref().worker, job, attempt))]
    async fn fail(&self, request: Request<v1::FailRequest>) -> Result<Response<v1::FailReply>, Status> {
        traced::by_caller(&request);
        let message = request.into_inner();
        let (at, worker, task) = self.writer(message.term, message.worker, message.task)?;
        let ending = decode::ending(message)?;
        tracing::info!(?ending, "attempt ended without a result");
        let code = match &ending {
            Ending::Released => None,
            Ending::Failed { code, .. } => Some(*code),
        };
        self.0.store.fail(at, worker, task, ending).await.map_err(refuse::by_store)?;
        self.0.metrics.ended(code);
        self.0.jobs_moved();
        Ok(Response::new(v1::FailReply {}))
    }
}

impl FleetService {
    /// Claims until there is something to offer, the wait is over, or the coordinator stops.
    async fn wait_for_offers(&self, term: Term, claim: &Claim, wait: Duration) -> Result<Vec<Offer>, Status> {
        let deadline = Instant::now() + wait;
        loop {
            let mut woken = pin!(self.0.ready().notified());
            woken.as_mut().enable();
            self.0.require_term(term)?;
            let offers = self.0.batches.claims.call(*claim).await?;
            if !offers.is_empty() {
                return Ok(offers);
            }
            tokio::select! {
                () = woken => {}
                () = sleep(SLOW_POLL) => {}
                () = sleep_until(deadline) => return Ok(offers),
                () = self.0.shutdown.cancelled() => return Ok(offers),
            }
        }
    }

    /// Who writes about which attempt; names both in the current span.
    fn writer(
        &self,
        term: u64,
        worker: i64,
        task: Option<v1::Task>,
    ) -> Result<(Stamp, WorkerId, proto::pipe::Task), Status> {
        let task = decode::task(task)?;
        let span = tracing::Span::current();
        span.record("job", task.job.0).record("attempt", task.attempt.0);
        Ok((self.0.stamp_of(Term(term)), WorkerId(worker), task))
    }
}
