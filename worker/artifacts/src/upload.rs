//! Large files: sent in parts, several at a time, and aborted when one fails.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, TryStreamExt};
use object_store::{ObjectStoreExt, PutPayload};
use proto_kit::offload::offload;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::hash::Hasher;
use crate::{ArtifactError, Artifacts, Blob, Result};

/// Files above this many bytes are sent in parts (object stores want parts of at least 5 MiB).
pub(crate) const PART: u64 = 8 << 20;
/// Parts of all uploads of a store that are in memory: 64 MiB.
pub(crate) const PARTS: usize = 8;
/// Parts of one file that are on their way.
const PARTS_OF_FILE: usize = 4;
/// The most parts that S3 takes.
const MOST: u64 = 10_000;

/// A file that is read once, part by part, and named on the way.
struct Parts {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    part: u64,
}

impl Parts {
    fn open(path: PathBuf, part: u64) -> Result<Self> {
        match File::open(&path) {
            Ok(file) => Ok(Self { path, file, hasher: Hasher::default(), part }),
            Err(source) => Err(ArtifactError::local("read", &path, source)),
        }
    }

    /// The next part; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut part = Vec::new();
        let read = (&mut self.file).take(self.part).read_to_end(&mut part);
        read.map_err(|source| ArtifactError::local("read", &self.path, source))?;
        self.hasher.update(&part);
        Ok((!part.is_empty()).then_some(part))
    }
}

/// The parts of a file, each with the permit under which it is in memory.
fn stream(
    parts: Arc<Mutex<Parts>>,
    permits: Arc<Semaphore>,
) -> impl Stream<Item = Result<(Vec<u8>, Option<OwnedSemaphorePermit>)>> {
    futures::stream::try_unfold((parts, permits), async |(parts, permits)| {
        let permit = Arc::clone(&permits).acquire_owned().await.ok();
        let file = Arc::clone(&parts);
        let part = offload(move || file.lock().unwrap_or_else(PoisonError::into_inner).next()).await?;
        Ok(part.map(|part| ((part, permit), (parts, permits))))
    })
}

impl Artifacts {
    /// Sends a large file. The object appears with the last step, whole. Multipart uploads know no create-if-absent here: a race of two
    /// writers writes the same bytes twice.
    pub(crate) async fn put_parts(&self, path: &Path, blob: &Blob) -> Result<()> {
        let object: Arc<str> = blob.object().into();
        let failed = |source| self.speaker.error("write", &object, &source);
        let (owned, part) = (path.to_owned(), PART.max(blob.size.div_ceil(MOST)));
        let parts = Arc::new(Mutex::new(offload(move || Parts::open(owned, part)).await?));
        let mut upload = self.store.put_multipart(&self.key(&object)?).await.map_err(failed)?;
        let sent = stream(Arc::clone(&parts), Arc::clone(&self.parts))
            .map_ok(|(part, permit)| {
                let sending = upload.put_part(PutPayload::from(part));
                let (speaker, object) = (self.speaker.clone(), Arc::clone(&object));
                async move {
                    let sent = sending.await;
                    drop(permit);
                    sent.map_err(|source| speaker.error("write", &object, &source))
                }
            })
            .try_buffer_unordered(PARTS_OF_FILE)
            .try_collect::<()>()
            .await;
        let result = match sent.and_then(|()| check(&parts, blob)) {
            Ok(()) => match upload.complete().await {
                // The answer to a first try may be lost, and a second one finds no upload any more.
                Err(_) if self.has_once(blob).await.is_ok_and(|there| there) => Ok(()),
                completed => completed.map_err(failed).map(drop),
            },
            Err(error) => Err(error),
        };
        if result.is_err()
            && let Err(error) = upload.abort().await
        {
            let error = self.speaker.words(&error);
            tracing::debug!(error, %object, "an upload that failed could not be aborted");
        }
        result
    }
}

/// Whether what was sent is what was named before.
fn check(parts: &Mutex<Parts>, blob: &Blob) -> Result<()> {
    let parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
    let sent = parts.hasher.clone().finish();
    if sent == *blob {
        return Ok(());
    }
    let object = parts.path.display().to_string();
    Err(ArtifactError::Damaged { object, expected: blob.digest, got: sent.digest })
}
