//! Exports: an artifact's files in a folder of the user's.

use std::path::{Path, PathBuf};

use proto_kit::offload::offload;

use crate::disk::check_room;
use crate::fetch::make_folder;
use crate::{ArtifactError, ArtifactRef, Artifacts, Blob, FileEntry, Manifest, Result, hash_file};

/// What PEFT asks of an adapter's folder.
const ADAPTER_FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

impl Artifacts {
    /// Writes an artifact's files into a folder of the user's, which is created. An adapter's folder is one that PEFT loads. Files that
    /// are there with the same content stay; nothing is overwritten. Safe to repeat.
    ///
    /// # Errors
    /// When a file of the folder differs from the artifact's, an object is missing or damaged, an adapter lacks a file that PEFT needs,
    /// or the folder cannot be written or has no room.
    pub async fn export(&self, artifact: &ArtifactRef, into: &Path) -> Result<Manifest> {
        self.export_below(artifact, "", into).await
    }

    /// The same for the part of an artifact whose paths begin with `below`, and without that beginning.
    ///
    /// # Errors
    /// As for `export`, and when there is no such part.
    pub async fn export_below(&self, artifact: &ArtifactRef, below: &str, into: &Path) -> Result<Manifest> {
        let manifest = self.manifest(artifact).await?;
        if manifest.role == "adapter" {
            let lacks = |name: &&str| !manifest.files.iter().any(|file| file.path == *name);
            if let Some(name) = ADAPTER_FILES.iter().find(|name| lacks(name)) {
                let reason = format!("is an adapter without `{name}`");
                return Err(ArtifactError::Manifest { object: artifact.path.clone(), reason });
            }
        }
        let part = |file: &FileEntry| Some((file.blob(), into.join(file.path.strip_prefix(below)?)));
        let files: Vec<_> = manifest.files.iter().filter_map(part).collect();
        if files.is_empty() && !below.is_empty() {
            let reason = format!("has no files below `{below}`");
            return Err(ArtifactError::Manifest { object: artifact.path.clone(), reason });
        }
        let missing = offload(move || missing(files)).await?;
        make_folder(into).await?;
        check_room(into.to_owned(), missing.iter().map(|(blob, _)| blob.size).sum()).await?;
        self.place(missing, None).await?;
        Ok(manifest)
    }
}

/// The files that are not there yet. Blocks.
fn missing(files: Vec<(Blob, PathBuf)>) -> Result<Vec<(Blob, PathBuf)>> {
    let mut missing = Vec::with_capacity(files.len());
    for (blob, path) in files {
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() && meta.len() == blob.size && hash_file(&path)? == blob => {}
            Ok(_) => return Err(ArtifactError::Differs { path }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing.push((blob, path)),
            Err(error) => return Err(ArtifactError::local("read", &path, error)),
        }
    }
    Ok(missing)
}
