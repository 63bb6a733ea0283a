//! Logs of attempts, as workers have brought them to the object store.

use std::sync::Arc;
use std::time::Duration;

use coordinator_store::model::Newest;
use futures::Stream;
use futures::stream::try_unfold;
use proto::id::{Attempt, JobId, JobKey};
use proto::v1;
use tokio::time::sleep;
use tonic::Status;

use super::{Context, refuse};

/// How often a follower looks for more.
const PACE: Duration = Duration::from_secs(1);
/// Looks without news after an attempt's end, before its log counts as whole: its last part comes beside its last call.
const LAST_LOOKS: u32 = 5;

/// Where a reader is.
struct Reader {
    context: Arc<Context>,
    job: JobId,
    key: JobKey,
    attempt: Attempt,
    part: u32,
    follow: bool,
    /// Looks without news since the attempt's end.
    looks: u32,
}

/// The parts of an attempt's log.
pub(super) async fn read(
    context: &Arc<Context>,
    request: v1::LogsRequest,
) -> Result<impl Stream<Item = Result<v1::LogPart, Status>> + use<>, Status> {
    let v1::LogsRequest { job, attempt, follow } = request;
    let job = JobId(job);
    let Newest { key, attempt: newest, .. } = newest(context, job).await?;
    let attempt = if attempt == 0 { newest } else { Attempt(attempt) };
    if attempt.0 == 0 || attempt > newest {
        let attempts = match newest.0 {
            0 => "no attempt yet".to_owned(),
            n => format!("{n} attempts so far"),
        };
        return Err(Status::not_found(format!("job {job} has {attempts}")));
    }
    let context = Arc::clone(context);
    Ok(try_unfold(Reader { context, job, key, attempt, part: 0, follow, looks: 0 }, Reader::next))
}

async fn newest(context: &Context, job: JobId) -> Result<Newest, Status> {
    let found = context.store.newest(job).await.map_err(refuse::by_store)?;
    found.ok_or_else(|| Status::not_found(format!("there is no job {job}")))
}

impl Reader {
    /// The next part; none at the end.
    async fn next(mut self) -> Result<Option<(v1::LogPart, Self)>, Status> {
        loop {
            let found = self.context.artifacts.log(self.key, self.attempt, self.part).await;
            if let Some(text) = found.map_err(|error| Status::unavailable(error.to_string()))? {
                (self.part, self.looks) = (self.part + 1, 0);
                let text = String::from_utf8_lossy(&text).into_owned();
                return Ok(Some((v1::LogPart { text }, self)));
            }
            if !self.follow || self.looks >= LAST_LOOKS {
                return Ok(None);
            }
            if self.context.shutdown.run_until_cancelled(sleep(PACE)).await.is_none() {
                return Ok(None);
            }
            let Newest { attempt, state, .. } = newest(&self.context, self.job).await?;
            let goes_on = attempt == self.attempt && state.is_held();
            self.looks = if goes_on { 0 } else { self.looks + 1 };
        }
    }
}
