//! Checking artifacts in the store: what a commit promised is there, and is what it was.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};

use crate::hash::Hasher;
use crate::store::REQUESTS;
use crate::{ArtifactError, ArtifactRef, Artifacts, Blob, Result};

/// Blobs that are read at once.
const READS: usize = 4;

/// An object that is not what artifacts need.
#[derive(Debug)]
pub struct Problem {
    /// Its key.
    pub object: String,
    /// The artifacts that need it.
    pub artifacts: BTreeSet<ArtifactRef>,
    /// What is wrong with it.
    pub error: ArtifactError,
}

/// What a check of artifacts found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Objects that were checked: manifests and blobs.
    pub objects: u64,
    /// Bytes of the blobs that were checked, each counted once.
    pub bytes: u64,
    /// What is wrong, by key; empty for a sound store.
    pub problems: Vec<Problem>,
}

impl Artifacts {
    /// Checks that artifacts are whole: each manifest has its digest, and each blob exists with its size and, where `deep`, its
    /// digest. A blob that several artifacts share is checked once.
    ///
    /// # Errors
    /// When the store cannot answer: that tells nothing about the artifacts.
    pub async fn verify(&self, artifacts: &BTreeSet<ArtifactRef>, deep: bool) -> Result<Verified> {
        let mut verified = Verified::default();
        let mut blobs: BTreeMap<Blob, BTreeSet<ArtifactRef>> = BTreeMap::new();
        let mut manifests = futures::stream::iter(artifacts.clone())
            .map(|artifact| async move {
                let found = finding(self.manifest(&artifact).await);
                (artifact, found)
            })
            .buffered(REQUESTS);
        while let Some((artifact, found)) = manifests.next().await {
            verified.objects += 1;
            match found? {
                Ok(manifest) => {
                    for file in manifest.files {
                        blobs.entry(file.blob()).or_default().insert(artifact.clone());
                    }
                }
                Err(error) => verified.problems.push(Problem {
                    object: artifact.path.clone(),
                    artifacts: BTreeSet::from([artifact]),
                    error,
                }),
            }
        }
        drop(manifests);
        let mut checks = futures::stream::iter(blobs)
            .map(|(blob, artifacts)| async move {
                let checked = if deep { self.hash_blob(&blob).await } else { self.must_have(&blob).await };
                (blob, artifacts, finding(checked))
            })
            .buffered(if deep { READS } else { REQUESTS });
        while let Some((blob, artifacts, found)) = checks.next().await {
            verified.objects += 1;
            verified.bytes += blob.size;
            if let Err(error) = found? {
                verified.problems.push(Problem { object: blob.object(), artifacts, error });
            }
        }
        drop(checks);
        verified.problems.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(verified)
    }

    async fn hash_blob(&self, blob: &Blob) -> Result<()> {
        let object = blob.object();
        let read = || async {
            let mut hasher = Hasher::default();
            let mut stream = self.stream(blob).await?.into_stream();
            let failed = |source| self.speaker.error("read", &object, &source);
            while let Some(piece) = stream.try_next().await.map_err(failed)? {
                hasher.update(&piece);
            }
            Ok(hasher.finish().digest)
        };
        match self.again(&object, read).await? {
            got if got == blob.digest => Ok(()),
            got => Err(ArtifactError::Damaged { object, expected: blob.digest, got }),
        }
    }
}

/// Tells a finding about an object from a store that did not answer.
fn finding<T>(result: Result<T>) -> Result<std::result::Result<T, ArtifactError>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(
            error @ (ArtifactError::Missing { .. }
            | ArtifactError::Damaged { .. }
            | ArtifactError::Size { .. }
            | ArtifactError::Manifest { .. }
            | ArtifactError::Path { .. }),
        ) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}
