//! Disks that are full, read-only or failing: one clear error, and no half object.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult, UploadPart,
};
use proto_kit::clock::SystemClock;
use worker_artifacts::{ArtifactError, Artifacts, Cache};

/// A store whose writes find the disk full.
#[derive(Debug, Default)]
struct FullStore {
    inner: Arc<InMemory>,
}

impl fmt::Display for FullStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FullStore")
    }
}

fn full() -> StoreError {
    StoreError::Generic {
        store: "FullStore",
        source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
    }
}

/// A multipart upload whose second part finds the disk full.
#[derive(Debug)]
struct FullUpload {
    inner: Box<dyn MultipartUpload>,
    parts: usize,
}

#[async_trait]
impl MultipartUpload for FullUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts += 1;
        if self.parts > 1 { Box::pin(async { Err(full()) }) } else { self.inner.put_part(data) }
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> StoreResult<()> {
        self.inner.abort().await
    }
}

#[async_trait]
impl ObjectStore for FullStore {
    async fn put_opts(&self, _: &Key, _: PutPayload, _: PutOptions) -> StoreResult<PutResult> {
        Err(full())
    }

    async fn put_multipart_opts(
        &self,
        key: &Key,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        Ok(Box::new(FullUpload { inner: self.inner.put_multipart_opts(key, options).await?, parts: 0 }))
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(key, options).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, StoreResult<Key>>,
    ) -> BoxStream<'static, StoreResult<Key>> {
        self.inner.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_full_store_is_named_and_keeps_nothing_half() {
    let store = FullStore::default();
    let inner = Arc::clone(&store.inner);
    let artifacts = Artifacts::over(Arc::new(store), "mem://full");
    let error = artifacts.put_bytes("x".into()).await.unwrap_err();
    assert!(error.to_string().starts_with("no space left in mem://full to write `blobs/sha256/"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![7; 17 << 20]).unwrap();
    let error = artifacts.put_file(&large).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Full { .. }), "{error}");
    assert!(inner.list_with_delimiter(None).await.unwrap().common_prefixes.is_empty());
}

/// A file system of 2 MiB; `None` where this user may not mount one.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: a small file system could not be mounted");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.path()).output());
    }
}

fn count_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn a_full_disk_is_named_and_keeps_nothing_half() {
    let Some(tiny) = Tiny::mount() else { return };
    let artifacts = Artifacts::open(&tiny.path().join("store").to_string_lossy()).unwrap();
    for megabytes in [3, 20] {
        let source = tempfile::tempdir().unwrap();
        let file = source.path().join("file");
        std::fs::write(&file, vec![megabytes; usize::from(megabytes) << 20]).unwrap();
        let error = artifacts.put_file(&file).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Full { .. }), "{error}");
        assert_eq!(count_files(tiny.path()), 0, "{megabytes} MiB");
    }
    artifacts.put_bytes("there is room for this".into()).await.unwrap();
}

#[tokio::test]
async fn a_full_cache_is_named_and_keeps_nothing_half() {
    let Some(tiny) = Tiny::mount() else { return };
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(&folder.path().join("store").to_string_lossy()).unwrap();
    let blob = artifacts.put_bytes(vec![1; 3 << 20].into()).await.unwrap();
    let cache = Cache::open(tiny.path(), None, Arc::new(SystemClock::default())).unwrap();
    let error = cache.link(&artifacts, &blob, &folder.path().join("target")).await.unwrap_err();
    assert!(matches!(error, ArtifactError::DiskFull { needed: 3_145_728, .. }), "{error}");
    assert_eq!(count_files(tiny.path()), 0);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Artifacts::open(&folder.path().to_string_lossy()).unwrap();
    std::fs::write(folder.path().join("blobs"), "a file where a folder must be").unwrap();
    let error = artifacts.put_bytes("x".into()).await.unwrap_err().to_string();
    assert!(
        error.contains("blobs/sha256/") && error.contains("Not a directory") && !error.contains('\n'),
        "{error}"
    );

    let read_only = tempfile::tempdir().unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "ro", "tmpfs"]).arg(read_only.path()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: a read-only file system could not be mounted");
        return;
    }
    let error = Artifacts::open(&read_only.path().to_string_lossy())
        .unwrap()
        .put_bytes("x".into())
        .await
        .unwrap_err();
    drop(Command::new("umount").arg(read_only.path()).output());
    assert!(error.to_string().contains("Read-only file system"), "{error}");
}
