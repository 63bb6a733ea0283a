//! Materialising artifacts in local folders, verified byte by byte.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher as _};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use proto_kit::offload::offload;

use crate::disk::check_room;
use crate::hash::Hasher;
use crate::{ArtifactError, ArtifactRef, Artifacts, Blob, Cache, Manifest, Result};

/// Files of one artifact that are fetched at once.
const FETCHES: usize = 4;
/// Bytes that are gathered before they are written.
const GATHERED: usize = 1 << 20;

impl Artifacts {
    /// Writes an artifact's files into a folder, which is created. With a cache, each content is downloaded once for the node and
    /// linked into the folder: such files must not be written to.
    ///
    /// # Errors
    /// When an object is missing or damaged, or the folder cannot be written or has no room. Files that are already complete stay.
    pub async fn fetch(
        &self,
        artifact: &ArtifactRef,
        into: &Path,
        cache: Option<&Cache>,
    ) -> Result<Manifest> {
        let manifest = self.manifest(artifact).await?;
        make_folder(into).await?;
        if cache.is_none() {
            check_room(into.to_owned(), manifest.size()).await?;
        }
        let files = manifest.files.iter().map(|file| (file.blob(), into.join(&file.path)));
        self.place(files.collect(), cache).await?;
        Ok(manifest)
    }

    /// Writes blobs to local files, a few at a time.
    pub(crate) async fn place(&self, files: Vec<(Blob, PathBuf)>, cache: Option<&Cache>) -> Result<()> {
        let placed = files.into_iter().map(|(blob, target)| async move {
            if let Some(parent) = target.parent() {
                make_folder(parent).await?;
            }
            match cache {
                Some(cache) => cache.link(self, &blob, &target).await,
                None => self.download(&blob, &target).await,
            }
        });
        futures::stream::iter(placed).buffer_unordered(FETCHES).try_collect().await
    }

    /// Writes a blob to a local file, which appears whole and verified or not at all.
    pub(crate) async fn download(&self, blob: &Blob, to: &Path) -> Result<()> {
        self.again(&blob.object(), || self.download_once(blob, to)).await
    }

    async fn download_once(&self, blob: &Blob, to: &Path) -> Result<()> {
        let part = beside(to);
        let written = self.write(blob, &part).await;
        let (from, target) = (part.clone(), to.to_owned());
        let written = match written {
            Ok(()) => offload(move || std::fs::rename(from, target))
                .await
                .map_err(|source| ArtifactError::local("write", to, source)),
            Err(error) => Err(error),
        };
        if written.is_err() {
            discard(part).await;
        }
        written
    }

    async fn write(&self, blob: &Blob, to: &Path) -> Result<()> {
        let object = blob.object();
        let local = |source| ArtifactError::local("write", to, source);
        let mut stream = self.stream(blob).await?.into_stream();
        let owned = to.to_owned();
        let mut sink = offload(move || Sink::create(&owned)).await.map_err(local)?;
        let mut gathered = Vec::new();
        let mut bytes = 0;
        while let Some(piece) =
            stream.try_next().await.map_err(|source| self.speaker.error("read", &object, &source))?
        {
            bytes += piece.len();
            gathered.push(piece);
            if bytes >= GATHERED {
                let pieces = std::mem::take(&mut gathered);
                bytes = 0;
                sink = offload(move || sink.write(&pieces)).await.map_err(local)?;
            }
        }
        let got = offload(move || sink.write(&gathered)).await.map_err(local)?.hasher.finish().digest;
        if got == blob.digest {
            Ok(())
        } else {
            Err(ArtifactError::Damaged { object, expected: blob.digest, got })
        }
    }
}

/// A file that is named while it is written.
struct Sink {
    file: File,
    hasher: Hasher,
}

impl Sink {
    fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create_new(path)?, hasher: Hasher::default() })
    }

    fn write(mut self, pieces: &[Bytes]) -> io::Result<Self> {
        for piece in pieces {
            self.hasher.update(piece);
            self.file.write_all(piece)?;
        }
        Ok(self)
    }
}

pub(crate) async fn make_folder(folder: &Path) -> Result<()> {
    let owned = folder.to_owned();
    let made = offload(move || std::fs::create_dir_all(owned)).await;
    made.map_err(|source| ArtifactError::local("create", folder, source))
}

/// What distinguishes this process's unfinished files from those of others, also of another machine or container.
pub(crate) static PROCESS: LazyLock<String> =
    LazyLock::new(|| format!("{:016x}", RandomState::new().build_hasher().finish()));

/// A name of this process's own in the same folder, for a file that is not finished.
pub(crate) fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{number}.part", *PROCESS))
}

async fn discard(part: PathBuf) {
    let shown = part.display().to_string();
    match offload(move || std::fs::remove_file(part)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(%error, path = shown, "a partial download could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Makes `target` the same file as `source`, or a copy where the file system cannot link. Blocks.
pub(crate) fn link(source: &Path, target: &Path) -> io::Result<()> {
    let part = beside(target);
    let placed = match std::fs::hard_link(source, &part) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => std::fs::copy(source, &part).map(drop),
    };
    let placed = placed.and_then(|()| std::fs::rename(&part, target));
    // Renaming onto a link of the same file does nothing and leaves the new name: remove it in either case.
    drop(std::fs::remove_file(&part));
    placed
}
