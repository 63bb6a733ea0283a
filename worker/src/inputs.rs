//! Input folders: one per artifact and node, linked from the cache, shared by every job that reads the artifact. Equal inputs so have
//! equal paths, by which runners recognise what they have loaded.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt};
use proto::id::Digest;
use tokio::sync::OnceCell;
use worker_artifacts::{ArtifactRef, Artifacts, Cache, Result};

/// Artifacts of one job that are fetched at once.
const FETCHES: usize = 8;

/// The node's inputs.
#[derive(Debug)]
pub(crate) struct Inputs {
    artifacts: Artifacts,
    cache: Cache,
    folder: PathBuf,
    ready: Mutex<HashMap<Digest, Arc<OnceCell<()>>>>,
}

impl Inputs {
    /// Inputs from `artifacts` through `cache`, in `folder`.
    pub(crate) fn new(artifacts: Artifacts, cache: Cache, folder: PathBuf) -> Self {
        Self { artifacts, cache, folder, ready: Mutex::default() }
    }

    /// The folders of a job's inputs by name, each complete and verified.
    pub(crate) async fn folders(
        &self,
        inputs: &BTreeMap<String, ArtifactRef>,
    ) -> Result<BTreeMap<String, PathBuf>> {
        let fetches = inputs.clone().into_iter().map(|(name, artifact)| async move {
            let folder = self.folder(&artifact).await?;
            Ok((name, folder))
        });
        futures::stream::iter(fetches).buffer_unordered(FETCHES).try_collect().await
    }

    /// Writes a checkpoint into a folder of its attempt's own.
    pub(crate) async fn checkpoint(&self, artifact: &ArtifactRef, into: &Path) -> Result<()> {
        self.artifacts.fetch(artifact, into, None).await.map(drop)
    }

    async fn folder(&self, artifact: &ArtifactRef) -> Result<PathBuf> {
        let folder = self.folder.join(artifact.digest.to_string());
        let cell = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            ready.entry(artifact.digest).or_default().clone()
        };
        cell.get_or_try_init(|| async {
            self.artifacts.fetch(artifact, &folder, Some(&self.cache)).await.map(drop)
        })
        .await?;
        Ok(folder)
    }
}
