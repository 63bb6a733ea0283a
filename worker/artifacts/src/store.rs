//! The store itself: create-if-absent for blobs and manifests, verified reads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::io::AsyncReadExt;
use url::Url;

use crate::hash::Hasher;
use crate::{ArtifactError, ArtifactRef, Blob, Manifest, Result, hash_bytes, hash_file};

/// Files above this many bytes are read and sent in parts of this size (object stores want at least 5 MiB).
const PART: usize = 8 << 20;

/// A store of artifacts. Clones share it.
#[derive(Clone, Debug)]
pub struct Artifacts {
    store: Arc<dyn ObjectStore>,
    url: Arc<str>,
}

impl Artifacts {
    /// Opens the store at a `file://` URL or a plain path; the folder is created. What is written there is synced to the disk before
    /// it counts as written.
    ///
    /// # Errors
    /// When the address is malformed or of a kind that this build does not speak, or the folder cannot be made.
    pub fn open(url: &str) -> Result<Self> {
        let folder = folder(url)?;
        std::fs::create_dir_all(&folder).map_err(|source| ArtifactError::local("create", &folder, source))?;
        let folder = folder.canonicalize().map_err(|source| ArtifactError::local("open", &folder, source))?;
        let wrong = |reason: String| ArtifactError::Address { url: url.to_owned(), reason };
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| wrong(error.to_string()))?;
        let address = Url::from_file_path(&folder).map_err(|()| wrong("is not absolute".to_owned()))?;
        Ok(Self::over(Arc::new(store.with_fsync(true)), address.as_str()))
    }

    /// Wraps an object store that is open already; `url` names it in messages.
    pub fn over(store: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self { store, url: url.into() }
    }

    /// The address under which other processes open the same store.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stores bytes as a blob, unless they are there.
    ///
    /// # Errors
    /// When the store fails or holds something else under that name.
    pub async fn put_bytes(&self, bytes: Bytes) -> Result<Blob> {
        let blob = hash_bytes(&bytes);
        if !self.has(&blob).await? {
            let object = blob.object();
            match self.create(&object, bytes).await {
                Ok(()) => {}
                Err(StoreError::AlreadyExists { .. }) => {
                    self.has(&blob).await?;
                }
                Err(source) => return Err(ArtifactError::store(&self.url, "write", &object, source)),
            }
        }
        Ok(blob)
    }

    /// Stores a file's content as a blob, unless it is there. Large files are read twice, piece by piece, never held whole.
    ///
    /// # Errors
    /// When the file cannot be read or changes meanwhile, or the store fails or holds something else under that name.
    pub async fn put_file(&self, path: &Path) -> Result<Blob> {
        let local = |source| ArtifactError::local("read", path, source);
        let size = tokio::fs::metadata(path).await.map_err(local)?.len();
        if size <= PART as u64 {
            return self.put_bytes(tokio::fs::read(path).await.map_err(local)?.into()).await;
        }
        let owned = path.to_owned();
        let hashed = tokio::task::spawn_blocking(move || hash_file(&owned)).await;
        let blob = hashed.map_err(|error| local(std::io::Error::other(error)))??;
        if !self.has(&blob).await? {
            self.put_parts(path, &blob).await?;
        }
        Ok(blob)
    }

    /// Writes a manifest under a key that only its writer uses. If the key exists, what is there counts and is returned.
    ///
    /// # Errors
    /// When the store fails, or what is there is no manifest or names blobs that do not exist.
    pub async fn put_manifest(&self, wanted: &ArtifactRef, bytes: Bytes) -> Result<ArtifactRef> {
        match self.create(&wanted.path, bytes).await {
            Ok(()) => return Ok(wanted.clone()),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(source) => return Err(ArtifactError::store(&self.url, "write", &wanted.path, source)),
        }
        let found = self.get(&wanted.path).await?;
        for file in Manifest::decode(&wanted.path, &found)?.files {
            if !self.has(&file.blob()).await? {
                return Err(ArtifactError::Missing {
                    object: file.blob().object(),
                    store: self.url.to_string(),
                });
            }
        }
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
        let object = blob.object();
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(&self.key(&object)?, options).await {
            Ok(found) if found.meta.size == blob.size => Ok(true),
            Ok(found) => Err(ArtifactError::Size { object, expected: blob.size, got: found.meta.size }),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(source) => Err(ArtifactError::store(&self.url, "look up", &object, source)),
        }
    }

    /// Opens an object for reading piece by piece.
    pub(crate) async fn stream(&self, object: &str) -> Result<object_store::GetResult> {
        let opened = self.store.get(&self.key(object)?).await;
        opened.map_err(|source| ArtifactError::store(&self.url, "read", object, source))
    }

    async fn get(&self, object: &str) -> Result<Bytes> {
        let bytes = self.stream(object).await?.bytes().await;
        bytes.map_err(|source| ArtifactError::store(&self.url, "read", object, source))
    }

    async fn create(&self, object: &str, bytes: Bytes) -> std::result::Result<(), StoreError> {
        let key = Key::parse(object)?;
        self.store.put_opts(&key, PutPayload::from(bytes), PutMode::Create.into()).await.map(drop)
    }

    /// Sends a large file in parts. The object appears with the last step, whole; a race writes the same bytes twice.
    async fn put_parts(&self, path: &Path, blob: &Blob) -> Result<()> {
        let object = blob.object();
        let failed = |source| ArtifactError::store(&self.url, "write", &object, source);
        let mut upload = self.store.put_multipart(&self.key(&object)?).await.map_err(failed)?;
        let send = async {
            let local = |source| ArtifactError::local("read", path, source);
            let mut file = tokio::fs::File::open(path).await.map_err(local)?;
            let mut sent = Hasher::default();
            loop {
                let mut part = Vec::with_capacity(PART);
                (&mut file).take(PART as u64).read_to_end(&mut part).await.map_err(local)?;
                if part.is_empty() {
                    break;
                }
                sent.update(&part);
                upload.put_part(PutPayload::from(part)).await.map_err(failed)?;
            }
            let sent = sent.finish();
            if sent != *blob {
                let (expected, got) = (blob.digest, sent.digest);
                return Err(ArtifactError::Damaged { object: path.display().to_string(), expected, got });
            }
            upload.complete().await.map_err(failed).map(drop)
        };
        let result = send.await;
        if result.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(%error, object, "an upload that failed could not be aborted");
        }
        result
    }

    fn key(&self, object: &str) -> Result<Key> {
        Key::parse(object).map_err(|error| ArtifactError::store(&self.url, "address", object, error.into()))
    }
}

/// The folder that a store's address means.
fn folder(url: &str) -> Result<PathBuf> {
    let wrong = |reason: &str| ArtifactError::Address { url: url.to_owned(), reason: reason.to_owned() };
    if url.is_empty() {
        return Err(wrong("is empty"));
    }
    match url.split_once("://") {
        None => Ok(PathBuf::from(url)),
        Some(("file", _)) => {
            let parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
            parsed.to_file_path().map_err(|()| wrong("must be file:///absolute/path"))
        }
        Some((scheme, _)) => {
            Err(wrong(&format!("this build stores in folders (file://) and does not speak `{scheme}`")))
        }
    }
}
