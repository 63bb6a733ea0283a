//! Room in the cache: what is unused goes, the least recently used first, until a download fits.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use proto::id::Digest;
use proto_kit::offload::offload;

use super::Shared;
use crate::disk::free_bytes;
use crate::fetch::PROCESS;
use crate::{ArtifactError, Result};

/// After this long the process of an unfinished file is dead.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes that a download may write. Given back when dropped: by then the folder itself tells.
pub(super) struct Room {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Room {
    /// Makes room for a download.
    pub(super) async fn make(shared: &Arc<Shared>, bytes: u64) -> Result<Self> {
        let room = Arc::clone(shared);
        offload(move || room.make_room(bytes)).await?;
        Ok(Self { shared: Arc::clone(shared), bytes })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.reserved = state.reserved.saturating_sub(self.bytes);
    }
}

/// A file that could go. Ordered by age; equal ages by digest, so that every run evicts alike.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Unused {
    used: SystemTime,
    digest: Digest,
    size: u64,
}

/// What lies in the folder.
#[derive(Default)]
struct Found {
    /// Bytes of all files.
    bytes: u64,
    /// Bytes of this process's unfinished files.
    unfinished: u64,
    /// Oldest first.
    unused: Vec<Unused>,
}

impl Shared {
    fn make_room(&self, needed: u64) -> Result<()> {
        let _one = self.making_room.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.look().map_err(|source| ArtifactError::local("list", &self.folder, source))?;
        let coming = self.state().reserved.saturating_sub(found.unfinished);
        let mut bytes = found.bytes.saturating_add(coming);
        let mut unused = found.unused.into_iter();
        loop {
            let over = self.limit.is_some_and(|limit| bytes.saturating_add(needed) > limit);
            let free = free_bytes(&self.folder)?.saturating_sub(coming);
            if !over && free >= needed {
                break;
            }
            match unused.next() {
                Some(oldest) if self.evict(oldest.digest)? => bytes = bytes.saturating_sub(oldest.size),
                Some(_) => {}
                None if free < needed => {
                    return Err(ArtifactError::DiskFull { needed, free, folder: self.folder.clone() });
                }
                None => break,
            }
        }
        self.state().reserved += needed;
        Ok(())
    }

    /// Removes a file, unless somebody of this process is about to use it.
    fn evict(&self, digest: Digest) -> Result<bool> {
        let mut state = self.state();
        if state.contents.get(&digest).is_some_and(|content| content.users > 0) {
            return Ok(false);
        }
        state.contents.remove(&digest);
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ArtifactError::local("remove", &path, error))
            }
            Ok(()) | Err(_) => Ok(true),
        }
    }

    fn look(&self) -> io::Result<Found> {
        let mut found = Found::default();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another process may have removed or renamed it.
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".part") {
                if self.is_stale(&meta) {
                    remove_quietly(&entry.path());
                    continue;
                }
                if name.contains(PROCESS.as_str()) {
                    found.unfinished += meta.len();
                }
            } else if let Ok(digest) = name.parse()
                && meta.nlink() == 1
            {
                let used = meta.accessed().or_else(|_| meta.modified())?;
                found.unused.push(Unused { used, digest, size: meta.len() });
            }
            found.bytes += meta.len();
        }
        found.unused.sort_unstable();
        Ok(found)
    }

    fn is_stale(&self, meta: &fs::Metadata) -> bool {
        meta.modified().is_ok_and(|at| self.now().duration_since(at).is_ok_and(|age| age > STALE))
    }
}

fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, path = %path.display(), "a dead process's unfinished file stays");
    }
}
