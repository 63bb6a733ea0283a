//! Large files: sent in parts, several at a time, and aborted when one fails.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt;
use object_store::{ObjectStoreExt, PutPayload};
use proto_kit::offload::offload;
use tokio::sync::OwnedSemaphorePermit;

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
    file: File,
    hasher: Hasher,
    part: u64,
}

impl Parts {
    /// The next part; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut part = Vec::new();
        (&mut self.file).take(self.part).read_to_end(&mut part)?;
        self.hasher.update(&part);
        Ok((!part.is_empty()).then_some(part))
    }
}

impl Artifacts {
    /// Sends a large file. The object appears with the last step, whole. Multipart uploads know no create-if-absent here: a race of two
    /// writers writes the same bytes twice.
    pub(crate) async fn put_parts(&self, path: &Path, blob: &Blob) -> Result<()> {
        let object = blob.object();
        let failed = |source| self.speaker.error("write", &object, &source);
        let local = |source| ArtifactError::local("read", path, source);
        let owned = path.to_owned();
        let file = offload(move || File::open(owned)).await.map_err(local)?;
        let part = PART.max(blob.size.div_ceil(MOST));
        let parts = Arc::new(Mutex::new(Parts { file, hasher: Hasher::default(), part }));

        let mut upload = self.store.put_multipart(&self.key(&object)?).await.map_err(failed)?;
        let read = futures::stream::try_unfold((), |()| async {
            let permit = Arc::clone(&self.parts).acquire_owned().await.ok();
            let parts = Arc::clone(&parts);
            let part = offload(move || parts.lock().unwrap_or_else(PoisonError::into_inner).next()).await;
            Ok::<_, ArtifactError>(part.map_err(local)?.map(|part| ((part, permit), ())))
        });
        let sent = read
            .map_ok(|(part, permit): (Vec<u8>, Option<OwnedSemaphorePermit>)| {
                let sending = upload.put_part(PutPayload::from(part));
                async move {
                    let sent = sending.await;
                    drop(permit);
                    sent.map_err(failed)
                }
            })
            .try_buffer_unordered(PARTS_OF_FILE)
            .try_collect::<()>()
            .await;
        let result = match sent.and_then(|()| check(&parts, path, blob)) {
            Ok(()) => upload.complete().await.map_err(failed).map(drop),
            Err(error) => Err(error),
        };
        if result.is_err()
            && let Err(error) = upload.abort().await
        {
            let error = self.speaker.words(&error);
            tracing::debug!(error, object, "an upload that failed could not be aborted");
        }
        result
    }
}

/// Whether what was sent is what was named before.
fn check(parts: &Mutex<Parts>, path: &Path, blob: &Blob) -> Result<()> {
    let sent = parts.lock().unwrap_or_else(PoisonError::into_inner).hasher.clone().finish();
    if sent == *blob {
        return Ok(());
    }
    Err(ArtifactError::Damaged {
        object: path.display().to_string(),
        expected: blob.digest,
        got: sent.digest,
    })
}
