//! Materialising artifacts in local folders, verified byte by byte.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt;
use tokio::io::AsyncWriteExt;

use crate::hash::Hasher;
use crate::{ArtifactError, ArtifactRef, Artifacts, Blob, Cache, Manifest, Result};

impl Artifacts {
    /// Writes an artifact's files into a folder, which is created. With a cache, each content is downloaded once for the node and
    /// linked into the folder: such files must not be written to.
    ///
    /// # Errors
    /// When an object is missing or damaged, or the folder cannot be written. Files that are already complete stay.
    pub async fn fetch(
        &self,
        artifact: &ArtifactRef,
        into: &Path,
        cache: Option<&Cache>,
    ) -> Result<Manifest> {
        let manifest = self.manifest(artifact).await?;
        make_folder(into).await?;
        for file in &manifest.files {
            let target = into.join(&file.path);
            if let Some(parent) = target.parent() {
                make_folder(parent).await?;
            }
            match cache {
                Some(cache) => link(&cache.get(self, &file.blob()).await?, &target).await?,
                None => self.download(&file.blob(), &target).await?,
            }
        }
        Ok(manifest)
    }

    /// Writes a blob to a local file, which appears whole and verified or not at all.
    pub(crate) async fn download(&self, blob: &Blob, to: &Path) -> Result<()> {
        let part = beside(to);
        let written = match self.write(blob, &part).await {
            Ok(()) => {
                tokio::fs::rename(&part, to).await.map_err(|source| ArtifactError::local("write", to, source))
            }
            Err(error) => Err(error),
        };
        if written.is_err()
            && let Err(error) = tokio::fs::remove_file(&part).await
        {
            tracing::debug!(%error, path = %part.display(), "a partial download could not be removed");
        }
        written
    }

    async fn write(&self, blob: &Blob, to: &Path) -> Result<()> {
        let object = blob.object();
        let local = |source| ArtifactError::local("write", to, source);
        let mut stream = self.stream(&object).await?.into_stream();
        let mut file = tokio::fs::File::create_new(to).await.map_err(local)?;
        let mut hasher = Hasher::default();
        while let Some(piece) = stream
            .try_next()
            .await
            .map_err(|source| ArtifactError::store(self.url(), "read", &object, source))?
        {
            hasher.update(&piece);
            file.write_all(&piece).await.map_err(local)?;
        }
        file.flush().await.map_err(local)?;
        let got = hasher.finish().digest;
        if got == blob.digest {
            Ok(())
        } else {
            Err(ArtifactError::Damaged { object, expected: blob.digest, got })
        }
    }
}

pub(crate) async fn make_folder(folder: &Path) -> Result<()> {
    tokio::fs::create_dir_all(folder).await.map_err(|source| ArtifactError::local("create", folder, source))
}

/// A file name of this process's own in the same folder.
fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{number}.part", std::process::id()))
}

/// Makes `target` the same file as `source`, or a copy where the file system cannot link.
async fn link(source: &Path, target: &Path) -> Result<()> {
    let part = beside(target);
    let place = async {
        if tokio::fs::hard_link(source, &part).await.is_err() {
            tokio::fs::copy(source, &part).await?;
        }
        tokio::fs::rename(&part, target).await
    };
    let placed = place.await.map_err(|error| ArtifactError::local("write", target, error));
    // Renaming onto a link of the same file does nothing and leaves the new name: remove it in either case.
    drop(tokio::fs::remove_file(&part).await);
    placed
}
