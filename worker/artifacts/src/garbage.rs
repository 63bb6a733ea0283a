//! Garbage: objects that no committed artifact needs. The coordinator drives it (`orchestration.md` §5): it lists, lets one transaction
//! condemn what nothing references, and deletes that; here are the steps, and the decision as a pure function.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::Error as StoreError;
use proto::id::Digest;

use crate::store::REQUESTS;
use crate::{ArtifactError, ArtifactRef, Artifacts, Result, hash_bytes};

/// An object as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the store's clock: microseconds since 1970.
    pub modified_micros: i64,
}

/// The objects of a listing that nothing needs: written by this crate, referenced by nobody, and older than `grace`. An upload may be
/// on its way to its commit for that long, so `grace` must exceed the longest such time and the difference of the clocks.
pub fn garbage<'a>(
    listing: impl IntoIterator<Item = &'a Listed>,
    references: &BTreeSet<String>,
    grace: Duration,
    now_micros: i64,
) -> Vec<&'a Listed> {
    let grace = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
    let old = |object: &Listed| now_micros.saturating_sub(object.modified_micros) > grace;
    let unused = listing
        .into_iter()
        .filter(|object| kind_of(&object.key).is_some() && old(object) && !references.contains(&object.key));
    unused.collect()
}

/// The kind of keys that nothing ever refers to, and that go by their age alone.
pub const LOGS: &str = "logs";

/// What a key holds, in the plural: `blobs`, `manifests`, `checkpoints`, `imports` or `logs`. `None` for a key that this crate does not write: such
/// an object may never be deleted.
pub fn kind_of(key: &str) -> Option<&'static str> {
    let parts: Vec<_> = key.split('/').collect();
    let digest = |text: &str| text.parse::<Digest>().is_ok();
    let number = |text: &str| text.parse::<u64>().is_ok();
    match parts.as_slice() {
        ["blobs", "sha256", name] => digest(name).then_some("blobs"),
        ["manifests", "imports", name] => digest(name).then_some("imports"),
        ["manifests", key, attempt] => (digest(key) && number(attempt)).then_some("manifests"),
        ["checkpoints", key, attempt, step] => {
            (digest(key) && number(attempt) && number(step)).then_some("checkpoints")
        }
        ["logs", key, attempt, part] => (digest(key) && number(attempt) && number(part)).then_some(LOGS),
        _ => None,
    }
}

impl Artifacts {
    /// Every object of the store, in no order. Large stores are listed page by page.
    pub fn list(&self) -> BoxStream<'static, Result<Listed>> {
        let speaker = self.speaker.clone();
        let listed = self.store.list(None).map(move |found| {
            let meta = found.map_err(|source| speaker.error("list", "", &source))?;
            let (key, modified_micros) = (meta.location.to_string(), meta.last_modified.timestamp_micros());
            Ok(Listed { key, size: meta.size, modified_micros })
        });
        listed.boxed()
    }

    /// The keys that committed artifacts need: their manifests and blobs.
    ///
    /// # Errors
    /// When a manifest is missing, damaged or cannot be read: what it names is unknown then, and nothing may be deleted.
    pub async fn references(&self, artifacts: &BTreeSet<ArtifactRef>) -> Result<BTreeSet<String>> {
        let mut references = BTreeSet::new();
        let mut manifests = futures::stream::iter(artifacts.clone())
            .map(|artifact| async move { self.manifest(&artifact).await })
            .buffered(REQUESTS);
        while let Some(manifest) = manifests.try_next().await? {
            references.extend(manifest.files.iter().map(|file| file.blob().object()));
        }
        references.extend(artifacts.iter().map(|artifact| artifact.path.clone()));
        Ok(references)
    }

    /// The digests by which commits name objects of this crate: a blob's stands in its key, a manifest is read for it. What is not there
    /// any more is left out.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn digests(&self, keys: &BTreeSet<String>) -> Result<BTreeMap<String, Digest>> {
        let digest = |key: String| async move {
            let name = key.strip_prefix("blobs/sha256/").and_then(|name| name.parse().ok());
            let digest = match name {
                Some(digest) => Ok(digest),
                None => self.get(&key).await.map(|bytes| hash_bytes(&bytes).digest),
            };
            match digest {
                Ok(digest) => Ok(Some((key, digest))),
                Err(ArtifactError::Missing { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let found = futures::stream::iter(keys.clone()).map(digest).buffer_unordered(REQUESTS);
        found.try_filter_map(|found| async move { Ok(found) }).try_collect().await
    }

    /// Deletes objects. One that does not exist counts as deleted.
    ///
    /// # Errors
    /// When the store fails for an object; the others are deleted all the same. Safe to repeat.
    pub async fn delete(&self, keys: &BTreeSet<String>) -> Result<()> {
        let Some(first) = keys.first() else { return Ok(()) };
        let left = Mutex::new(keys.clone());
        self.again(first, || self.delete_once(&left)).await
    }

    /// Deletes what is left, and takes from it what is deleted.
    async fn delete_once(&self, left: &Mutex<BTreeSet<String>>) -> Result<()> {
        let keys = left.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let objects = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>>>()?;
        let objects = futures::stream::iter(objects.into_iter().map(Ok)).boxed();
        let mut deleted = self.store.delete_stream(objects);
        // A refusal counts before what may pass.
        let (mut refusal, mut failure) = (None, None);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(key) => {
                    left.lock().unwrap_or_else(PoisonError::into_inner).remove(key.as_ref());
                }
                Err(StoreError::NotFound { .. }) => {}
                Err(source) => {
                    let error = self.speaker.error("delete", "objects", &source);
                    let place = if error.retryable() { &mut failure } else { &mut refusal };
                    place.get_or_insert(error);
                }
            }
        }
        refusal.or(failure).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests;
