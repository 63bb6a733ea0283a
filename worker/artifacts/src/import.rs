//! Imports: files that come from a planner instead of a job. Their identity is known before anything is written, so that a plan can
//! name them.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use crate::commit::UPLOADS;
use crate::{
    ArtifactError, ArtifactRef, Artifacts, Blob, FileEntry, Manifest, Origin, Result, hash_bytes, hash_file,
};

/// Where an imported file's content is.
#[derive(Clone, Debug)]
pub enum Source {
    /// A local file.
    File(PathBuf),
    /// Bytes at hand.
    Bytes(Bytes),
}

/// One file to import.
#[derive(Clone, Debug)]
pub struct ImportFile {
    /// Where it lies in the artifact.
    pub path: String,
    /// Its content.
    pub source: Source,
}

/// An import that has its identity and waits to be written.
#[derive(Clone, Debug)]
pub struct Import {
    /// The artifact that it becomes.
    pub artifact: ArtifactRef,
    /// The artifact's manifest, encoded.
    pub manifest: Bytes,
    /// What to write: each file's content with its name.
    pub contents: Vec<(Blob, Source)>,
}

impl Import {
    /// Reads the files and names the artifact; writes nothing. Equal paths with equal contents give the same artifact. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read, or a path may not stand in a manifest.
    pub fn plan(role: &str, files: Vec<ImportFile>) -> Result<Self> {
        let mut entries = Vec::with_capacity(files.len());
        let mut contents = Vec::with_capacity(files.len());
        for ImportFile { path, source } in files {
            let blob = match &source {
                Source::File(local) => hash_file(local)?,
                Source::Bytes(bytes) => hash_bytes(bytes),
            };
            entries.push(FileEntry { path, size: blob.size, sha256: blob.digest });
            contents.push((blob, source));
        }
        let (artifact, manifest) = Manifest::new(role, Origin::Import, entries)?.encode()?;
        Ok(Self { artifact, manifest, contents })
    }
}

/// Imports that are written at the same time.
const IMPORTS: usize = 16;

impl Artifacts {
    /// Writes planned imports, a few at a time, and returns once all are safe. Safe to repeat.
    ///
    /// # Errors
    /// When a file changed since it was planned, or the store fails.
    pub async fn put_imports(&self, imports: &[Import]) -> Result<()> {
        let Some(folder) = &self.folder else { return self.put_each(imports).await };
        Self { store: Arc::clone(&folder.unsynced), ..self.clone() }.put_each(imports).await?;
        folder.sync().await
    }

    async fn put_each(&self, imports: &[Import]) -> Result<()> {
        let puts: Vec<_> = imports.iter().map(|import| self.put_import(import)).collect();
        futures::stream::iter(puts).buffer_unordered(IMPORTS).try_for_each(|_| async { Ok(()) }).await
    }

    /// Writes a planned import. Safe to repeat.
    ///
    /// # Errors
    /// When a file changed since it was planned, or the store fails.
    pub async fn put_import(&self, import: &Import) -> Result<ArtifactRef> {
        let contents = import.contents.clone().into_iter();
        let puts = contents.map(|(planned, source)| self.put_planned(planned, source));
        futures::stream::iter(puts).buffer_unordered(UPLOADS).try_collect::<()>().await?;
        self.put_manifest(&import.artifact, import.manifest.clone()).await
    }

    async fn put_planned(&self, planned: Blob, source: Source) -> Result<()> {
        let (object, stored) = match source {
            // Bytes at hand cannot have changed.
            Source::Bytes(bytes) => {
                return self.again(&planned.object(), || self.put_blob(&planned, bytes.clone())).await;
            }
            // What is there need not be read again.
            Source::File(_) if self.has(&planned).await? => return Ok(()),
            Source::File(local) => (local.display().to_string(), self.put_file(&local).await?),
        };
        if stored == planned {
            return Ok(());
        }
        Err(ArtifactError::Damaged { object, expected: planned.digest, got: stored.digest })
    }
}
