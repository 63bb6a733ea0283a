//! Committing a folder: blobs first, the manifest last.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use proto::id::{Attempt, Digest, JobKey};
use proto_kit::offload::offload;
use serde_json::Value;

use crate::{ArtifactError, ArtifactRef, Artifacts, FileEntry, Manifest, Origin, Result};

/// Files of one folder that are uploaded at once.
pub(crate) const UPLOADS: usize = 4;

/// What a manifest tells of a job's folder besides its files.
#[derive(Clone, Debug)]
pub struct Record {
    /// The job.
    pub key: JobKey,
    /// The attempt that wrote the folder.
    pub attempt: Attempt,
    /// What the folder is: `adapter`, `gate`, `report`, `checkpoint`, ….
    pub role: String,
    /// What the job read, by name.
    pub inputs: BTreeMap<String, ArtifactRef>,
    /// Figures, a JSON object.
    pub metrics: Value,
    /// Versions of the programs that took part.
    pub versions: BTreeMap<String, String>,
    /// The attempt's trace, 32 hex digits.
    pub trace: Option<String>,
}

/// An artifact that is in the store, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its name.
    pub artifact: ArtifactRef,
    /// Bytes of all its files.
    pub bytes: u64,
    /// The blobs that its manifest names.
    pub blobs: BTreeSet<Digest>,
}

impl Artifacts {
    /// Uploads an attempt's result. Safe to repeat: an earlier try's manifest counts, and is returned.
    ///
    /// # Errors
    /// When the folder holds anything but files and folders, or cannot be read, or the store fails.
    pub async fn commit_folder(&self, record: &Record, folder: &Path) -> Result<Committed> {
        self.commit(Origin::Job { key: record.key, attempt: record.attempt }, record, folder).await
    }

    /// Uploads a checkpoint of an attempt, taken after `step` steps. Safe to repeat.
    ///
    /// # Errors
    /// As for `commit_folder`.
    pub async fn commit_checkpoint(&self, record: &Record, step: u64, folder: &Path) -> Result<Committed> {
        self.commit(Origin::Checkpoint { key: record.key, attempt: record.attempt, step }, record, folder)
            .await
    }

    async fn commit(&self, origin: Origin, record: &Record, folder: &Path) -> Result<Committed> {
        let owned = folder.to_owned();
        let uploads = offload(move || files(&owned)).await?.into_iter().map(|(path, local)| async move {
            let blob = self.put_file(&local).await?;
            Ok::<_, ArtifactError>(FileEntry { path, size: blob.size, sha256: blob.digest })
        });
        let entries = futures::stream::iter(uploads).buffer_unordered(UPLOADS).try_collect().await?;
        let mut manifest = Manifest::new(&record.role, origin, entries)?;
        manifest.inputs.clone_from(&record.inputs);
        manifest.metrics.clone_from(&record.metrics);
        manifest.versions.clone_from(&record.versions);
        manifest.trace.clone_from(&record.trace);
        let (wanted, bytes) = manifest.encode()?;
        let artifact = self.put_manifest(&wanted, bytes).await?;
        let stored = if artifact == wanted { manifest } else { self.manifest(&artifact).await? };
        let blobs = stored.files.iter().map(|file| file.sha256).collect();
        Ok(Committed { artifact, bytes: stored.size(), blobs })
    }
}

/// Every file below a folder, with its path in the artifact. Blocks.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![(String::new(), folder.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        let local = |source| ArtifactError::local("read", &folder, source);
        for entry in std::fs::read_dir(&folder).map_err(local)? {
            let entry = entry.map_err(local)?;
            let refused =
                |reason| ArtifactError::Path { path: entry.path().to_string_lossy().into_owned(), reason };
            let name = entry.file_name().into_string().map_err(|_| refused("its name is not UTF-8"))?;
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(local)?;
            if kind.is_dir() {
                folders.push((format!("{path}/"), entry.path()));
            } else if kind.is_file() {
                found.push((path, entry.path()));
            } else {
                return Err(refused("it is neither a file nor a folder"));
            }
        }
    }
    Ok(found)
}
