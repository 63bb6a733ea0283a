//! What the server asks of a planner: it turns a manifest into jobs with keys, and brings their inputs into the object store. The
//! server knows no manifest; the planner knows no table.

use std::path::PathBuf;

use async_trait::async_trait;
use jobs_spec::job::PlannedJob;
use proto::id::Digest;
use worker_artifacts::Import;

/// A manifest as an operator sends it.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// The manifest's text (YAML).
    pub manifest: String,
    /// The folder that its relative paths start from, on the coordinator's machine.
    pub folder: PathBuf,
    /// The manifest's file name, for error messages.
    pub file: String,
}

/// What a manifest asks for. The same manifest over the same files gives the same value.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The sweep's name.
    pub name: String,
    /// The identity of what is asked: the hash of all job keys, so that a manifest that only looks different joins the same sweep.
    pub manifest_digest: Digest,
    /// Stage names in the order in which they run. A job's stage is its spec's kind.
    pub stages: Vec<String>,
    /// Every job once, those that others need before them, in the order in which results are shown.
    pub jobs: Vec<PlannedJob>,
    /// What was counted: tools, traces, entries, dropped samples. One line each.
    pub notes: Vec<String>,
    /// Every artifact that a job names as [`jobs_spec::job::Input::Artifact`].
    pub imports: Vec<Import>,
}

/// Why a manifest cannot be planned or its inputs cannot be imported: one line with file, line and field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The manifest or a file that it names is wrong; a person has to change it.
    #[error("{0}")]
    Invalid(String),
    /// The object store or the disk failed; trying again may help.
    #[error("{0}")]
    Storage(String),
}

/// Plans manifests and imports what they name.
#[async_trait]
pub trait Planner: Send + Sync {
    /// Expands a manifest. Reads files, changes nothing.
    async fn plan(&self, request: PlanRequest) -> Result<Planned, PlanError>;

    /// Brings every import of a plan into the object store. Safe to repeat: what is there already is left alone.
    async fn import(&self, planned: &Planned) -> Result<(), PlanError>;
}
