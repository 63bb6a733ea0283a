//! What operators ask of the object store.

use std::sync::Arc;
use std::time::Duration;

use coordinator_store::model::ArtifactView;
use futures::stream::{self, StreamExt};
use futures::{Stream, TryStreamExt};
use proto::v1;
use tonic::Status;
use wildmatch::WildMatch;

use super::{Context, encode, refuse};
use crate::garbage::{Collection, GarbageError, Report};

/// Collects garbage: a message when it is found, then one for each part of it that is gone. It stops when nobody listens any more.
pub(super) async fn collect(
    context: &Arc<Context>,
    request: v1::CollectRequest,
) -> Result<impl Stream<Item = Result<v1::CollectReply, Status>> + use<>, Status> {
    let v1::CollectRequest { dry_run, grace_ms, logs_ms } = request;
    let stamps = Arc::clone(context);
    let collection = Collection::new(
        Arc::clone(&context.store),
        context.artifacts.clone(),
        Box::new(move || stamps.stamp()),
        Arc::clone(&context.turns),
    );
    let mut collection =
        collection.ok_or_else(|| Status::failed_precondition("garbage is being collected already"))?;
    let found = collection
        .find(Duration::from_millis(grace_ms), Duration::from_millis(logs_ms))
        .await
        .map_err(refused)?;
    let left = (!dry_run).then_some(collection);
    let deleted = stream::try_unfold(left, |collection| async {
        let Some(mut collection) = collection else { return Ok(None) };
        let report = collection.delete_some().await.map_err(refused)?;
        Ok(report.map(|report| (report, Some(collection))))
    });
    let shutdown = context.shutdown.clone();
    let reports = stream::once(async { Ok(found) }).chain(deleted).map_ok(reply);
    Ok(reports.take_until(async move { shutdown.cancelled().await }))
}

fn refused(error: GarbageError) -> Status {
    match error {
        GarbageError::Table(error) => refuse::by_store(error),
        GarbageError::Store(_) | GarbageError::Slow => Status::unavailable(error.to_string()),
    }
}

fn reply(report: Report) -> v1::CollectReply {
    let kinds = report.garbage.iter();
    v1::CollectReply {
        garbage: kinds
            .map(|(kind, tally)| v1::collect_reply::Kind {
                kind: (*kind).to_owned(),
                objects: tally.objects,
                bytes: tally.bytes,
            })
            .collect(),
        listed: report.listed.objects,
        listed_bytes: report.listed.bytes,
        deleted: report.deleted.objects,
        deleted_bytes: report.deleted.bytes,
        spared: report.spared,
    }
}

/// Lists artifacts.
pub(super) async fn artifacts(
    context: &Context,
    request: v1::ArtifactsRequest,
) -> Result<v1::ArtifactsReply, Status> {
    let v1::ArtifactsRequest { sweep, jobs, stage, label, results } = request;
    let sweep = match sweep.as_str() {
        "" => None,
        text => Some(context.find(text).await?.id),
    };
    let label = (!label.is_empty()).then(|| WildMatch::new(&label));
    let meant = |artifact: &ArtifactView| {
        (jobs.is_empty() || jobs.contains(&artifact.task.job.0))
            && (stage.is_empty() || stage == artifact.kind)
            && label.as_ref().is_none_or(|pattern| pattern.matches(&artifact.label))
            && (!results || artifact.bytes.is_some())
    };
    let listed = context.store.artifacts(sweep).await.map_err(refuse::by_store)?;
    let artifacts = listed.into_iter().filter(meant).map(encode::listed).collect();
    Ok(v1::ArtifactsReply { store: context.settings.store_url.clone(), artifacts })
}
