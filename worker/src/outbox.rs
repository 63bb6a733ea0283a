//! What leaves the worker behind the computation: results, checkpoints and failures. Each is delivered again and again until the
//! coordinator accepts it or wants it no longer; while the lease is not trusted it waits.

use std::path::PathBuf;
use std::time::Duration;

use proto::UPLOAD_TRUST;
use proto::error::{ErrorCode, Reason};
use proto::id::Digest;
use proto::pipe::Task;
use proto::v1;
use proto_kit::retry::{Backoff, retry};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, field, info_span};
use worker_artifacts::{ArtifactError, ArtifactRef, Committed, Record};

use crate::fleet::CallError;
use crate::folder::remove;
use crate::held;
use crate::node::Node;
use crate::offer::{self, Assignment};
use crate::session::Ticket;

/// How long a store that fails is tried again before the attempt fails.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// The same for a result, which took long to compute.
const RESULT_PATIENCE: Duration = Duration::from_secs(600);
/// How long condemned objects are uploaded again before the attempt fails.
const CONDEMNED_PATIENCE: Duration = Duration::from_secs(600);

/// A result that lies in a folder.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The folder.
    pub(crate) output: PathBuf,
    /// Figures, a JSON object.
    pub(crate) metrics: Value,
    /// Device time spent.
    pub(crate) device_ms: u64,
    /// The runner's version.
    pub(crate) runner: String,
}

/// Why an attempt ends without a result.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What kind of failure.
    pub(crate) code: ErrorCode,
    /// One line with cause and place.
    pub(crate) message: String,
    /// Whether the worker gives the job back.
    pub(crate) released: bool,
}

impl Failure {
    /// A failure of the attempt.
    pub(crate) fn new(code: ErrorCode, message: impl ToString) -> Self {
        Self { code, message: message.to_string(), released: false }
    }

    /// A job given back.
    pub(crate) fn released(message: &str) -> Self {
        Self { code: ErrorCode::WorkerLost, message: message.to_owned(), released: true }
    }
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Self {
        Self::new(error.code(), error)
    }
}

/// Why something was not delivered.
enum GaveUp {
    /// Nobody wants it any more.
    Unwanted(String),
    /// The coordinator will never accept it.
    Rejected(String),
    /// The garbage collector is about to delete an object of it.
    Condemned(String),
    /// It waited for too long.
    Late,
}

/// Why files were not published.
enum Unpublished {
    /// Nobody wants them any more.
    Unwanted(String),
    /// They could not be stored, or will never be accepted.
    Failed(Failure),
}

impl Node {
    /// Uploads a result and commits it; a result that cannot be uploaded fails its attempt. Returns when nothing is left of the attempt.
    pub(crate) async fn commit(&self, job: &Assignment, dropped: &CancellationToken, finished: Finished) {
        let work = async {
            if let Err(failure) = self.upload_and_complete(job, finished).await {
                tracing::error!(code = %failure.code, message = failure.message, "a result is lost");
                self.report(job.task, failure).await;
            }
        };
        self.unless_dropped(job.task, dropped, work).await;
    }

    /// Reports a failure. Returns when nothing is left of the attempt.
    pub(crate) async fn fail(&self, task: Task, dropped: &CancellationToken, failure: Failure) {
        self.unless_dropped(task, dropped, self.report(task, failure)).await;
    }

    /// Uploads a checkpoint and records it. One that cannot be saved costs only time.
    pub(crate) async fn save(&self, job: &Assignment, runner: String, step: u64, folder: PathBuf) {
        let record = record(job, "checkpoint", Value::Object(serde_json::Map::new()), runner);
        let upload = || tolerant(self.seed, || self.artifacts.commit_checkpoint(&record, step, &folder));
        let tell = |Ticket { term, worker }, Committed { artifact, blobs, .. }| {
            let (task, artifact) = (Some(held::message(job.task)), Some(offer::message(&artifact)));
            let blobs = blobs.iter().map(Digest::to_string).collect();
            self.fleet.checkpointed(v1::CheckpointedRequest { term, worker, task, step, artifact, blobs })
        };
        match self.publish(upload, tell).await {
            Ok(_) => {
                self.metrics.checkpoints_recorded.inc();
                tracing::debug!(step, "checkpoint recorded");
            }
            Err(Unpublished::Unwanted(why)) => tracing::debug!(step, why, "checkpoint dropped"),
            Err(Unpublished::Failed(failure)) => {
                tracing::warn!(error = failure.message, step, "a checkpoint could not be saved");
            }
        }
        remove(folder).await;
    }

    async fn upload_and_complete(&self, job: &Assignment, finished: Finished) -> Result<(), Failure> {
        let Finished { output, metrics, device_ms, runner } = finished;
        let record = record(job, &job.role, metrics, runner);
        let metrics = record.metrics.to_string();
        let upload =
            || patient(RESULT_PATIENCE, self.seed, || self.artifacts.commit_folder(&record, &output));
        let tell = |Ticket { term, worker }, Committed { artifact, bytes, blobs }| {
            self.fleet.complete(v1::CompleteRequest {
                term,
                worker,
                task: Some(held::message(job.task)),
                role: job.role.clone(),
                artifact: Some(offer::message(&artifact)),
                bytes,
                metrics: metrics.clone(),
                device_ms,
                blobs: blobs.iter().map(Digest::to_string).collect(),
            })
        };
        match self.publish(upload, tell).await {
            Ok((artifact, reply)) => {
                self.metrics.jobs_committed.inc();
                note_winner(&artifact, &reply);
                Ok(())
            }
            Err(Unpublished::Unwanted(why)) => {
                self.metrics.jobs_dropped.inc();
                tracing::info!(why, "the result is not wanted any more");
                Ok(())
            }
            Err(Unpublished::Failed(failure)) => Err(failure),
        }
    }

    /// Uploads and tells the coordinator, again and again until it accepts. Returns the artifact and the answer.
    async fn publish<T, U, F>(
        &self,
        upload: impl Fn() -> U,
        tell: impl Fn(Ticket, Committed) -> F,
    ) -> Result<(ArtifactRef, T), Unpublished>
    where
        U: Future<Output = Result<Committed, ArtifactError>>,
        F: Future<Output = Result<T, CallError>>,
    {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), self.seed);
        let give_up = Instant::now() + CONDEMNED_PATIENCE;
        loop {
            let uploaded = async {
                let _turn = self.uploads.acquire().await;
                let began = Instant::now();
                let committed = upload().await?;
                self.metrics.uploads.observe(began.elapsed().as_secs_f64());
                Ok((began + UPLOAD_TRUST, committed))
            };
            let uploaded = uploaded.instrument(info_span!("upload", otel.kind = field::Empty));
            let (late, committed) =
                uploaded.await.map_err(|error: ArtifactError| Unpublished::Failed(error.into()))?;
            self.metrics.upload_bytes.inc_by(committed.bytes);
            let failed = |code, why| Err(Unpublished::Failed(Failure::new(code, why)));
            let delivered = self.deliver(Some(late), |ticket| tell(ticket, committed.clone()));
            match delivered.instrument(info_span!("commit", otel.kind = field::Empty)).await {
                Ok(reply) => return Ok((committed.artifact, reply)),
                Err(GaveUp::Unwanted(why)) => return Err(Unpublished::Unwanted(why)),
                Err(GaveUp::Rejected(why)) => return failed(ErrorCode::Internal, why),
                Err(GaveUp::Late) => {}
                Err(GaveUp::Condemned(why)) if Instant::now() >= give_up => {
                    return failed(ErrorCode::Storage, why);
                }
                Err(GaveUp::Condemned(why)) => {
                    tracing::info!(why, "the files are uploaded again");
                    sleep(backoff.delay()).await;
                }
            }
        }
    }

    async fn report(&self, task: Task, Failure { code, message, released }: Failure) {
        let tell = |Ticket { term, worker }| {
            let (task, code) = (Some(held::message(task)), code.name().to_owned());
            self.fleet.fail(v1::FailRequest { term, worker, task, code, message: message.clone(), released })
        };
        let delivered = self.deliver(None, tell);
        match delivered.instrument(info_span!("report", otel.kind = field::Empty)).await {
            Ok(_) => {
                let ended = if released { &self.metrics.jobs_released } else { &self.metrics.jobs_failed };
                ended.inc();
                tracing::info!(%code, message, released, "attempt ended without a result");
            }
            Err(GaveUp::Unwanted(why)) => {
                self.metrics.jobs_dropped.inc();
                tracing::info!(why, "nobody waits for the attempt's end");
            }
            Err(GaveUp::Rejected(why) | GaveUp::Condemned(why)) => {
                tracing::error!(why, "the attempt's end could not be told");
            }
            Err(GaveUp::Late) => {}
        }
    }

    /// Ends an attempt by `work`, or at once when the coordinator drops it.
    async fn unless_dropped(&self, task: Task, dropped: &CancellationToken, work: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = dropped.cancelled() => {}
            () = work => {}
        }
        self.held.remove(task);
        remove(self.folder_of(task)).await;
    }

    /// Makes a call until it is answered, or `late` has come.
    async fn deliver<T, F>(&self, late: Option<Instant>, call: impl Fn(Ticket) -> F) -> Result<T, GaveUp>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), self.seed);
        let orphaned = || GaveUp::Unwanted("the coordinator is gone".to_owned());
        loop {
            // Even an orphan tries once: a parent that only hung up still listens.
            let ticket = tokio::select! {
                biased;
                ticket = self.session.ticket() => ticket,
                () = self.orphaned.cancelled() => return Err(orphaned()),
            };
            if late.is_some_and(|late| Instant::now() >= late) {
                return Err(GaveUp::Late);
            }
            match call(ticket).await {
                Ok(reply) => return Ok(reply),
                Err(CallError::Rejected(why)) => return Err(GaveUp::Rejected(why)),
                Err(CallError::Refused(Reason::StaleAttempt | Reason::Superseded, why)) => {
                    return Err(GaveUp::Unwanted(why));
                }
                Err(CallError::Refused(Reason::SessionLost | Reason::StaleTerm, _)) => {
                    self.session.lost(ticket)
                }
                Err(CallError::Refused(Reason::Condemned, why)) => return Err(GaveUp::Condemned(why)),
                Err(error @ CallError::Unreachable(_)) => tracing::debug!(%error, "a delivery waits"),
            }
            tokio::select! {
                biased;
                () = self.orphaned.cancelled() => return Err(orphaned()),
                () = sleep(backoff.delay()) => {}
            }
        }
    }
}

/// Tries again while a store fails in a way that may pass.
pub(crate) async fn tolerant<T, F>(seed: u64, operation: impl FnMut() -> F) -> Result<T, ArtifactError>
where
    F: Future<Output = Result<T, ArtifactError>>,
{
    patient(STORE_PATIENCE, seed, operation).await
}

async fn patient<T, F>(
    patience: Duration,
    seed: u64,
    operation: impl FnMut() -> F,
) -> Result<T, ArtifactError>
where
    F: Future<Output = Result<T, ArtifactError>>,
{
    let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2), seed);
    retry(backoff, patience, |error| matches!(error, ArtifactError::Store { .. }), operation).await
}

fn record(job: &Assignment, role: &str, metrics: Value, runner: String) -> Record {
    let worker = env!("CARGO_PKG_VERSION").to_owned();
    Record {
        key: job.key,
        attempt: job.task.attempt,
        role: role.to_owned(),
        inputs: job.inputs.clone(),
        metrics,
        versions: [("runner".to_owned(), runner), ("worker".to_owned(), worker)].into(),
        trace: job.trace.clone(),
    }
}

fn note_winner(own: &ArtifactRef, reply: &v1::CompleteReply) {
    match &reply.artifact {
        Some(winner) if winner.digest != own.digest.to_string() => {
            tracing::info!(own = %own.digest, winner = winner.digest, "another attempt had committed before");
        }
        _ => tracing::info!(artifact = %own.digest, "artifact committed"),
    }
}
