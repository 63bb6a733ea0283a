//! From messages to the types of the job table. A message that makes no sense is refused with the name of its field.

use coordinator_core::sweep::Progress;
use coordinator_store::model::{
    Artifact, Claim, Completion, Ending, Held, Lane, NewSession, RecordedCheckpoint,
};
use proto::error::Reason;
use proto::id::{Attempt, Digest, JobId, LaneId, WorkerId};
use proto::pipe::Task;
use proto::v1;
use proto::version;
use tonic::Status;

use super::refuse;

pub(super) fn task(message: Option<v1::Task>) -> Result<Task, Status> {
    message.map(known_task).ok_or_else(|| refuse::field("task", "missing"))
}

pub(super) fn known_task(message: v1::Task) -> Task {
    Task { job: JobId(message.job), attempt: Attempt(message.attempt) }
}

pub(super) fn artifact(message: Option<v1::Artifact>) -> Result<Artifact, Status> {
    let v1::Artifact { path, digest } = message.ok_or_else(|| refuse::field("artifact", "missing"))?;
    if path.is_empty() {
        return Err(refuse::field("artifact.path", "empty"));
    }
    Ok(Artifact { path, digest: digest.parse().map_err(|e| refuse::field("artifact.digest", e))? })
}

pub(super) fn session(message: &v1::RegisterRequest) -> Result<NewSession, Status> {
    for (field, value) in [("name", &message.name), ("incarnation", &message.incarnation)] {
        if value.is_empty() {
            return Err(refuse::field(field, "empty"));
        }
    }
    if !version::speaks(&message.version) {
        let (theirs, own) = (&message.version, version::OWN);
        return Err(Reason::Version.refusal(format!(
            "the worker is of version `{theirs}`, the coordinator of {own}: install both from one release"
        )));
    }
    let lane = |lane: &v1::Lane| Lane { id: LaneId(lane.id), device: lane.device.clone() };
    Ok(NewSession {
        name: message.name.clone(),
        incarnation: message.incarnation.clone(),
        host: message.host.clone(),
        version: message.version.clone(),
        lanes: message.lanes.iter().map(lane).collect(),
        leaving: message.draining,
    })
}

pub(super) fn claim(message: &v1::AcquireRequest) -> Result<Claim, Status> {
    let fan: Option<Digest> = match message.fan.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|e| refuse::field("fan", e))?),
    };
    let (worker, lane) = (WorkerId(message.worker), LaneId(message.lane));
    Ok(Claim { worker, lane, fan, free_slots: message.free_slots, prefetch: message.prefetch })
}

/// What a worker holds, with the progress of each.
pub(super) fn held(message: v1::Held) -> Result<(Held, Option<Progress>), Status> {
    let held = Held { task: task(message.task)?, running: message.running };
    let progress =
        message.progress.map(|p| Progress { step: p.step, total: p.total, tokens: p.tokens, loss: p.loss });
    Ok((held, progress))
}

/// The digests of an artifact's blobs.
pub(super) fn blobs(texts: &[String]) -> Result<Vec<Digest>, Status> {
    texts.iter().map(|text| text.parse().map_err(|e| refuse::field("blobs", e))).collect()
}

pub(super) fn checkpoint(
    message: v1::CheckpointedRequest,
) -> Result<(RecordedCheckpoint, Vec<Digest>), Status> {
    let blobs = blobs(&message.blobs)?;
    Ok((RecordedCheckpoint { step: message.step, artifact: artifact(message.artifact)? }, blobs))
}

pub(super) fn completion(message: v1::CompleteRequest) -> Result<Completion, Status> {
    if message.role.is_empty() {
        return Err(refuse::field("role", "empty"));
    }
    let metrics = match message.metrics.as_str() {
        "" => serde_json::Value::Object(serde_json::Map::new()),
        text => serde_json::from_str(text).map_err(|e| refuse::field("metrics", e))?,
    };
    if !metrics.is_object() {
        return Err(refuse::field("metrics", "not a JSON object"));
    }
    Ok(Completion {
        role: message.role,
        artifact: artifact(message.artifact)?,
        blobs: blobs(&message.blobs)?,
        bytes: message.bytes,
        metrics,
        device_ms: message.device_ms,
    })
}

pub(super) fn ending(message: v1::FailRequest) -> Result<Ending, Status> {
    if message.released {
        return Ok(Ending::Released);
    }
    let code = message.code.parse().map_err(|e| refuse::field("code", e))?;
    Ok(Ending::Failed { code, message: message.message })
}
