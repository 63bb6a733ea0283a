//! The node's cache of contents: each is downloaded once, and verified once by each process that uses it.

use std::collections::HashMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use proto::id::Digest;
use tokio::sync::OnceCell;

use crate::fetch::make_folder;
use crate::{ArtifactError, Artifacts, Blob, Result, hash_file};

/// A folder of files named by their digests. Clones share it; processes may share the folder.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    /// Filled once the file is there and verified; concurrent users of one content wait for the first.
    verified: Arc<Mutex<HashMap<Digest, Arc<OnceCell<()>>>>>,
}

impl Cache {
    /// Opens the cache in a folder, which is created.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|source| ArtifactError::local("create", folder, source))?;
        Ok(Self { folder: folder.to_owned(), verified: Arc::default() })
    }

    /// The local file with a blob's content, downloaded if need be. It is read-only.
    ///
    /// # Errors
    /// When the blob is missing or damaged in the store, or the cache cannot be written.
    pub async fn get(&self, artifacts: &Artifacts, blob: &Blob) -> Result<PathBuf> {
        let path = self.folder.join(blob.digest.to_string());
        let cell = {
            let mut cells = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
            cells.entry(blob.digest).or_default().clone()
        };
        cell.get_or_try_init(|| self.fill(artifacts, blob, &path)).await?;
        Ok(path)
    }

    async fn fill(&self, artifacts: &Artifacts, blob: &Blob, path: &Path) -> Result<()> {
        let local = |source| ArtifactError::local("open", path, source);
        if tokio::fs::try_exists(path).await.map_err(local)? {
            let owned = path.to_owned();
            let hashed = tokio::task::spawn_blocking(move || hash_file(&owned)).await;
            if hashed.map_err(|error| local(std::io::Error::other(error)))??.digest == blob.digest {
                return Ok(());
            }
            tracing::warn!(path = %path.display(), "a cached file is damaged and is fetched again");
            tokio::fs::remove_file(path).await.map_err(local)?;
        }
        make_folder(&self.folder).await?;
        artifacts.download(blob, path).await?;
        tokio::fs::set_permissions(path, Permissions::from_mode(0o444)).await.map_err(local)
    }
}
