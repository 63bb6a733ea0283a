//! The planner that the server asks: plans manifests over this machine's files and imports what they name.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jobs_spec::key::digest_of;
use jobs_spec::manifest;
use worker_artifacts::Artifacts;

use super::inputs::{Inputs, storage};
use super::merge::{STAGES, merge};
use super::point;
use crate::server::planner::{PlanError, PlanRequest, Planned, Planner};

/// Plans over this machine's files and imports into one store.
#[derive(Debug)]
pub struct ManifestPlanner {
    artifacts: Artifacts,
}

impl ManifestPlanner {
    /// A planner that imports into `artifacts`.
    pub fn new(artifacts: Artifacts) -> Self {
        Self { artifacts }
    }
}

#[async_trait]
impl Planner for ManifestPlanner {
    async fn plan(&self, request: PlanRequest) -> Result<Planned, PlanError> {
        tokio::task::spawn_blocking(move || plan(&request))
            .await
            .unwrap_or_else(|error| Err(PlanError::Invalid(format!("planning broke off: {error}"))))
    }

    async fn import(&self, planned: &Planned) -> Result<(), PlanError> {
        self.artifacts.put_imports(&planned.imports).await.map_err(storage)
    }
}

/// Expands a manifest into jobs. Reads and hashes files; writes nothing.
///
/// # Errors
/// The first mistake in the manifest or in a file that it names, as one line.
pub fn plan(request: &PlanRequest) -> Result<Planned, PlanError> {
    let document = manifest::parse(&request.manifest, &request.file)
        .map_err(|error| PlanError::Invalid(error.to_string()))?;
    let mut inputs = Inputs::new(&request.folder);
    let of_points =
        document.points.iter().map(|point| point::jobs(point, &mut inputs)).collect::<Result<_, _>>()?;
    let jobs = merge(&document.points, of_points);
    let mut identity = document.name.clone();
    for job in &jobs {
        identity.push('\n');
        identity.push_str(&job.key.to_string());
    }
    let used: BTreeSet<&str> = jobs.iter().map(|job| job.spec.kind()).collect();
    let (imports, notes) = inputs.finish();
    Ok(Planned {
        name: document.name,
        manifest_digest: digest_of(identity.as_bytes()),
        stages: STAGES.into_iter().filter(|stage| used.contains(stage)).map(str::to_owned).collect(),
        jobs,
        notes,
        imports,
    })
}
