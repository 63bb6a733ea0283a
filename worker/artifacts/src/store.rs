//! The store itself: create-if-absent for blobs and manifests, verified reads.
//!
//! Every operation is safe to repeat, so what a store failed is tried again a few times: a write whose outcome is unknown is found done,
//! or is done now.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{Error as StoreError, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use proto_kit::offload::offload;
use proto_kit::retry::{Backoff, retry};
use tokio::sync::Semaphore;

use crate::address::{self, Opened, Variable};
use crate::folder::Folder;
use crate::upload::{PART, PARTS};
use crate::words::Speaker;
use crate::{ArtifactError, ArtifactRef, Blob, Manifest, Result, hash_bytes, hash_file};

/// Small requests of one operation that are on their way at once.
pub(crate) const REQUESTS: usize = 16;
/// For how long an operation that the store failed is begun again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store of artifacts. Clones share it. Its `Debug` is its address, as clients hold credentials.
#[derive(Clone)]
pub struct Artifacts {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) speaker: Speaker,
    pub(crate) folder: Option<Arc<Folder>>,
    /// Parts of large files that are in memory.
    pub(crate) parts: Arc<Semaphore>,
}

impl fmt::Debug for Artifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Artifacts").field(&self.speaker).finish()
    }
}

impl Artifacts {
    /// Opens the store at a `file://`, `s3://`, `gs://`, `az://` or `abfs(s)://` URL or in a folder, which is created. Settings and
    /// credentials of servers come from the environment and from the machine's own identity; no request is made yet.
    ///
    /// # Errors
    /// When the address is malformed or holds credentials, a setting does not fit, or the folder cannot be made.
    pub fn open(url: &str) -> Result<Self> {
        let variables: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::open_with(url, &variables)
    }

    /// As `open`, with these variables instead of the environment's.
    ///
    /// # Errors
    /// As for `open`.
    pub fn open_with(url: &str, variables: &[Variable]) -> Result<Self> {
        let Opened { store, speaker, folder } = address::open(url, variables)?;
        Ok(Self { store, speaker, folder, parts: Arc::new(Semaphore::new(PARTS)) })
    }

    /// Wraps an object store that is open already; `url` names it in messages.
    pub fn over(store: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self {
            store,
            speaker: Speaker::new(url, vec![]),
            folder: None,
            parts: Arc::new(Semaphore::new(PARTS)),
        }
    }

    /// The address under which other processes open the same store.
    pub fn url(&self) -> &str {
        self.speaker.url()
    }

    /// Stores bytes as a blob, unless they are there.
    ///
    /// # Errors
    /// When the store fails or holds something else under that name.
    pub async fn put_bytes(&self, bytes: Bytes) -> Result<Blob> {
        let blob = hash_bytes(&bytes);
        self.again(&blob.object(), || self.put_blob(&blob, bytes.clone())).await?;
        Ok(blob)
    }

    /// Stores a file's content as a blob, unless it is there. Large files are read twice, piece by piece, never held whole.
    ///
    /// # Errors
    /// When the file cannot be read or changes meanwhile, or the store fails or holds something else under that name.
    pub async fn put_file(&self, path: &Path) -> Result<Blob> {
        let owned = path.to_owned();
        let small = move || match std::fs::metadata(&owned)?.len() <= PART {
            true => std::fs::read(&owned).map(Some),
            false => Ok(None),
        };
        let small = offload(small).await.map_err(|source| ArtifactError::local("read", path, source))?;
        if let Some(bytes) = small {
            return self.put_bytes(bytes.into()).await;
        }
        let owned = path.to_owned();
        let blob = offload(move || hash_file(&owned)).await?;
        let put =
            || async { if self.has_once(&blob).await? { Ok(()) } else { self.put_parts(path, &blob).await } };
        self.again(&blob.object(), put).await?;
        Ok(blob)
    }

    /// Writes a manifest under a key that only its writer uses. If the key exists, what is there counts and is returned.
    ///
    /// # Errors
    /// When the store fails, or what is there is no manifest or names blobs that do not exist.
    pub async fn put_manifest(&self, wanted: &ArtifactRef, bytes: Bytes) -> Result<ArtifactRef> {
        let put = || self.put_or_get(&wanted.path, bytes.clone());
        let Some(found) = self.again(&wanted.path, put).await? else { return Ok(wanted.clone()) };
        let files = Manifest::decode(&wanted.path, &found)?.files;
        let checks = files.into_iter().map(|file| async move { self.must_have(&file.blob()).await });
        futures::stream::iter(checks).buffer_unordered(REQUESTS).try_collect::<()>().await?;
        Ok(ArtifactRef { path: wanted.path.clone(), digest: hash_bytes(&found).digest })
    }

    /// Reads an artifact's manifest.
    ///
    /// # Errors
    /// When it is missing, damaged or of another format.
    pub async fn manifest(&self, artifact: &ArtifactRef) -> Result<Manifest> {
        let bytes = self.get(&artifact.path).await?;
        let got = hash_bytes(&bytes).digest;
        if got != artifact.digest {
            return Err(ArtifactError::Damaged {
                object: artifact.path.clone(),
                expected: artifact.digest,
                got,
            });
        }
        Manifest::decode(&artifact.path, &bytes)
    }

    /// Reads one small file of an artifact.
    ///
    /// # Errors
    /// When the artifact has no such file, or its manifest or blob is missing or damaged.
    pub async fn read(&self, artifact: &ArtifactRef, path: &str) -> Result<Bytes> {
        let manifest = self.manifest(artifact).await?;
        let file = manifest.files.iter().find(|file| file.path == path).ok_or_else(|| {
            ArtifactError::Manifest { object: artifact.path.clone(), reason: format!("has no file `{path}`") }
        })?;
        let object = file.blob().object();
        let bytes = self.get(&object).await?;
        let got = hash_bytes(&bytes).digest;
        if got != file.sha256 {
            return Err(ArtifactError::Damaged { object, expected: file.sha256, got });
        }
        Ok(bytes)
    }

    /// Whether a blob is in the store.
    ///
    /// # Errors
    /// When the store fails, or the object has another size than the blob.
    pub async fn has(&self, blob: &Blob) -> Result<bool> {
        self.again(&blob.object(), || self.has_once(blob)).await
    }

    /// Fails unless a blob is in the store.
    pub(crate) async fn must_have(&self, blob: &Blob) -> Result<()> {
        if self.has(blob).await? {
            return Ok(());
        }
        Err(ArtifactError::Missing { object: blob.object(), store: self.url().to_owned() })
    }

    /// Opens a blob for reading piece by piece.
    pub(crate) async fn stream(&self, blob: &Blob) -> Result<object_store::GetResult> {
        let object = blob.object();
        let opened = self.store.get(&self.key(&object)?).await;
        let opened = opened.map_err(|source| self.speaker.error("read", &object, &source))?;
        self.check_size(object, blob, opened.meta.size)?;
        Ok(opened)
    }

    /// Does what the store may fail, and does it again for a while.
    pub(crate) async fn again<T, F: Future<Output = Result<T>>>(
        &self,
        object: &str,
        operation: impl FnMut() -> F,
    ) -> Result<T> {
        let seed = hash_bytes(object.as_bytes())
            .digest
            .as_bytes()
            .iter()
            .fold(0, |seed: u64, byte| seed.rotate_left(8) ^ u64::from(*byte));
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), seed);
        retry(backoff, PATIENCE, ArtifactError::retryable, operation).await
    }

    pub(crate) fn key(&self, object: &str) -> Result<Key> {
        Key::parse(object).map_err(|error| self.speaker.error("address", object, &error.into()))
    }

    pub(crate) async fn put_blob(&self, blob: &Blob, bytes: Bytes) -> Result<()> {
        if self.has_once(blob).await? {
            return Ok(());
        }
        let object = blob.object();
        match self.create(&object, bytes).await {
            Ok(()) => Ok(()),
            Err(StoreError::AlreadyExists { .. }) if self.has_once(blob).await? => Ok(()),
            Err(StoreError::AlreadyExists { .. }) => Err(self.gone(&object)),
            Err(source) => Err(self.speaker.error("write", &object, &source)),
        }
    }

    /// `None` where the object was created, or holds these bytes already; otherwise what it holds.
    pub(crate) async fn put_or_get(&self, object: &str, bytes: Bytes) -> Result<Option<Bytes>> {
        match self.create(object, bytes.clone()).await {
            Ok(()) => return Ok(None),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(source) => return Err(self.speaker.error("write", object, &source)),
        }
        match self.get_once(object).await {
            Ok(found) => Ok((found != bytes).then_some(found)),
            Err(ArtifactError::Missing { .. }) => Err(self.gone(object)),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn has_once(&self, blob: &Blob) -> Result<bool> {
        let object = blob.object();
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(&self.key(&object)?, options).await {
            Ok(found) => self.check_size(object, blob, found.meta.size).map(|()| true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(source) => Err(self.speaker.error("look up", &object, &source)),
        }
    }

    pub(crate) async fn get(&self, object: &str) -> Result<Bytes> {
        self.again(object, || self.get_once(object)).await
    }

    async fn get_once(&self, object: &str) -> Result<Bytes> {
        let failed = |source| self.speaker.error("read", object, &source);
        self.store.get(&self.key(object)?).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    async fn create(&self, object: &str, bytes: Bytes) -> std::result::Result<(), StoreError> {
        let key = Key::parse(object)?;
        self.store.put_opts(&key, PutPayload::from(bytes), PutMode::Create.into()).await.map(drop)
    }

    fn check_size(&self, object: String, blob: &Blob, got: u64) -> Result<()> {
        if got == blob.size {
            return Ok(());
        }
        Err(ArtifactError::Size { object, expected: blob.size, got })
    }

    /// Another writer was in between, or the object was deleted in this moment.
    fn gone(&self, object: &str) -> ArtifactError {
        self.speaker.again("write", object, "it was there and is gone")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, Import, Record};

    /// Whoever spawns these operations needs futures that may move between threads; the compiler finds out here, not there.
    #[test]
    fn operations_may_be_spawned() {
        fn spawned(_: impl Send) {}
        fn all(
            artifacts: &Artifacts,
            cache: &Cache,
            record: &Record,
            import: &Import,
            artifact: &ArtifactRef,
            path: &Path,
        ) {
            spawned(artifacts.put_file(path));
            spawned(artifacts.put_manifest(artifact, Bytes::new()));
            spawned(artifacts.put_imports(std::slice::from_ref(import)));
            spawned(artifacts.commit_folder(record, path));
            spawned(artifacts.fetch(artifact, path, Some(cache)));
            spawned(artifacts.export(artifact, path));
            spawned(artifacts.digests(&std::collections::BTreeSet::new()));
            spawned(artifacts.delete(&std::collections::BTreeSet::new()));
            spawned(artifacts.verify(&std::collections::BTreeSet::new(), true));
            spawned(artifacts.references(&std::collections::BTreeSet::new()));
        }
        let _: fn(&Artifacts, &Cache, &Record, &Import, &ArtifactRef, &Path) = all;
    }
}
