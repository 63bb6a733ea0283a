//! The JSON of commands about the object store.

use std::collections::BTreeMap;

use proto::v1;
use serde::Serialize;

use super::Artifact;

/// What the table refers to in the object store.
#[derive(Debug, Serialize)]
pub struct Artifacts {
    store: String,
    artifacts: Vec<ListedArtifact>,
}

#[derive(Debug, Serialize)]
struct ListedArtifact {
    job: i64,
    stage: String,
    label: String,
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(flatten)]
    artifact: Option<Artifact>,
}

impl From<v1::ArtifactsReply> for Artifacts {
    fn from(reply: v1::ArtifactsReply) -> Self {
        let artifacts = reply.artifacts.into_iter().map(ListedArtifact::from).collect();
        Self { store: reply.store, artifacts }
    }
}

impl From<v1::ListedArtifact> for ListedArtifact {
    fn from(listed: v1::ListedArtifact) -> Self {
        let v1::ListedArtifact { task, stage, label, role, artifact, bytes } = listed;
        let v1::Task { job, attempt } = task.unwrap_or_default();
        let attempt = (attempt != 0).then_some(attempt);
        Self { job, stage, label, role, attempt, bytes, artifact: artifact.map(Artifact::from) }
    }
}

/// What a check of artifacts found.
#[derive(Debug, Serialize)]
pub struct Verified<'a> {
    /// Artifacts that were checked.
    pub artifacts: u64,
    /// Their manifests and blobs.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is not whole.
    pub bad: &'a [BadArtifact],
}

/// An artifact of a job that is not whole.
#[derive(Debug, Serialize)]
pub struct BadArtifact {
    job: i64,
    label: String,
    role: String,
    digest: String,
    problem: String,
}

impl BadArtifact {
    /// What is wrong with a listed artifact.
    pub fn new(listed: &v1::ListedArtifact, problem: impl std::fmt::Display) -> Self {
        Self {
            job: listed.task.unwrap_or_default().job,
            label: listed.label.clone(),
            role: listed.role.clone(),
            digest: listed.artifact.as_ref().map(|artifact| artifact.digest.clone()).unwrap_or_default(),
            problem: problem.to_string(),
        }
    }
}

impl std::fmt::Display for BadArtifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { job, label, role, digest, problem } = self;
        write!(f, "job {job} ({label}), {role} {digest}: {problem}")
    }
}

/// What a collection of garbage found and did.
#[derive(Debug, Serialize)]
pub struct Garbage {
    garbage: BTreeMap<String, Objects>,
    listed: Objects,
    deleted: Objects,
    spared: u64,
}

#[derive(Debug, Serialize)]
struct Objects {
    objects: u64,
    bytes: u64,
}

impl From<v1::CollectReply> for Garbage {
    fn from(reply: v1::CollectReply) -> Self {
        let v1::CollectReply { garbage, listed, listed_bytes, deleted, deleted_bytes, spared } = reply;
        let kind = |kind: v1::collect_reply::Kind| {
            let objects = Objects { objects: kind.objects, bytes: kind.bytes };
            (kind.kind, objects)
        };
        Self {
            garbage: garbage.into_iter().map(kind).collect(),
            listed: Objects { objects: listed, bytes: listed_bytes },
            deleted: Objects { objects: deleted, bytes: deleted_bytes },
            spared,
        }
    }
}
