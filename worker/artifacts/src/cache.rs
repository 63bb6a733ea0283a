//! The node's cache of contents: each is downloaded once, and verified once by each process that uses it.
//!
//! What is used is a link to the cached file, so a file with a second link is in use, whichever process made it, and removing it would
//! free nothing. Everything else goes when room is needed, the least recently used first. Sizes and times of use stand in the folder
//! alone (a use is the time of access): nothing is to be recovered after a restart, and processes that share the folder agree.

mod room;

use std::collections::BTreeMap;
use std::fs::{File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use proto::id::Digest;
use proto_kit::clock::Clock;
use proto_kit::offload::offload;
use tokio::sync::OnceCell;

use self::room::Room;
use crate::fetch::{link, make_folder};
use crate::{ArtifactError, Artifacts, Blob, Result, hash_file};

/// How often a content is fetched that other processes evict before it is linked.
const TRIES: usize = 10;

/// A folder of files named by their digests. Clones share it; processes may share the folder.
#[derive(Clone, Debug)]
pub struct Cache {
    shared: Arc<Shared>,
    figures: CacheFigures,
}

/// What a cache counts.
#[derive(Clone, Debug, Default)]
pub struct CacheFigures {
    /// Contents that were there.
    pub hits: Counter,
    /// Contents that were downloaded.
    pub misses: Counter,
    /// Bytes that were downloaded.
    pub bytes: Counter,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// Bytes that the folder should hold at most.
    limit: Option<u64>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held while room is made, by one thread that may block.
    making_room: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    contents: BTreeMap<Digest, Content>,
    /// Bytes that downloads on their way will have written.
    reserved: u64,
}

#[derive(Debug, Default)]
struct Content {
    /// Filled once the file is there and verified; concurrent users of one content wait for the first.
    verified: Arc<OnceCell<()>>,
    /// Users in this process that have not made their links yet.
    users: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.clock.now_micros().try_into().unwrap_or(0))
    }
}

/// A content that a user of this process is about to link.
struct Use {
    shared: Arc<Shared>,
    digest: Digest,
    verified: Arc<OnceCell<()>>,
}

impl Use {
    fn of(shared: &Arc<Shared>, digest: Digest) -> Self {
        let mut state = shared.state();
        let content = state.contents.entry(digest).or_default();
        content.users += 1;
        let verified = Arc::clone(&content.verified);
        drop(state);
        Self { shared: Arc::clone(shared), digest, verified }
    }

    /// The file is gone: the next user looks anew.
    fn forget(self) {
        let mut state = self.shared.state();
        if let Some(content) = state.contents.get_mut(&self.digest)
            && Arc::ptr_eq(&content.verified, &self.verified)
        {
            content.verified = Arc::default();
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if let Some(content) = self.shared.state().contents.get_mut(&self.digest) {
            content.users = content.users.saturating_sub(1);
        }
    }
}

impl Cache {
    /// Opens the cache in a folder, which is created. It holds at most `limit` bytes, or as many as fit the disk; but what jobs need at
    /// the same time is fetched even beyond the limit.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path, limit: Option<u64>, clock: Arc<dyn Clock>) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|source| ArtifactError::local("create", folder, source))?;
        let (state, making_room) = (Mutex::default(), Mutex::default());
        let shared = Shared { folder: folder.to_owned(), limit, clock, state, making_room };
        Ok(Self { shared: Arc::new(shared), figures: CacheFigures::default() })
    }

    /// The same cache, which counts into `figures`.
    #[must_use]
    pub fn counted(self, figures: CacheFigures) -> Self {
        Self { figures, ..self }
    }

    /// Makes `target` a file with a blob's content, downloaded if need be. It is read-only, and a link of the cached file where the file
    /// system can link: as long as it exists, the content stays in the cache.
    ///
    /// # Errors
    /// When the blob is missing or damaged in the store, the disk has no room even after everything unused is evicted, or `target` or
    /// the cache cannot be written.
    pub async fn link(&self, artifacts: &Artifacts, blob: &Blob, target: &Path) -> Result<()> {
        let source = self.shared.path(blob.digest);
        for _ in 0..TRIES {
            let user = Use::of(&self.shared, blob.digest);
            let mut missed = false;
            let fill = async || {
                missed = self.fill(artifacts, blob, &source).await?;
                Ok(())
            };
            user.verified.get_or_try_init(fill).await?;
            if !missed {
                self.figures.hits.inc();
            }
            let (from, to, now) = (source.clone(), target.to_owned(), self.shared.now());
            let linked = offload(move || {
                let linked = link(&from, &to).map(|()| touch(&from, now));
                linked.map_err(|error| (error, to.parent().is_some_and(Path::is_dir)))
            });
            match linked.await {
                Ok(()) => return Ok(()),
                // The target's place is there, so it is the cached file that is not.
                Err((error, true)) if error.kind() == io::ErrorKind::NotFound => user.forget(),
                Err((error, _)) => return Err(ArtifactError::local("write", target, error)),
            }
        }
        let busy = io::Error::other("others that share the folder evict it again and again");
        Err(ArtifactError::local("keep", &source, busy))
    }

    /// Makes the cached file whole. Returns whether it had to be downloaded.
    async fn fill(&self, artifacts: &Artifacts, blob: &Blob, path: &Path) -> Result<bool> {
        let (found, expected) = (path.to_owned(), blob.digest);
        if offload(move || keep_if_whole(&found, expected)).await? {
            return Ok(false);
        }
        make_folder(&self.shared.folder).await?;
        let _room = Room::make(&self.shared, blob.size).await?;
        artifacts.download(blob, path).await?;
        self.figures.misses.inc();
        self.figures.bytes.inc_by(blob.size);
        let owned = path.to_owned();
        let protected = offload(move || std::fs::set_permissions(owned, Permissions::from_mode(0o444)));
        match protected.await {
            // Another process evicted it already; whoever links finds out.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ArtifactError::local("protect", path, error))
            }
            Ok(()) | Err(_) => Ok(true),
        }
    }
}

/// Whether a cached file is there with the content that its name says; removed if it is another.
fn keep_if_whole(path: &Path, expected: Digest) -> Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(ArtifactError::local("open", path, error)),
    }
    if hash_file(path)?.digest == expected {
        return Ok(true);
    }
    tracing::warn!(path = %path.display(), "a cached file is damaged and is fetched again");
    std::fs::remove_file(path).map_err(|source| ArtifactError::local("remove", path, source))?;
    Ok(false)
}

/// Notes a use. The time of access serves: runners tell files apart by the time of change.
fn touch(path: &Path, now: SystemTime) {
    let noted = File::open(path).and_then(|file| file.set_times(FileTimes::new().set_accessed(now)));
    if let Err(error) = noted {
        tracing::debug!(%error, path = %path.display(), "a use of a cached file could not be noted");
    }
}

#[cfg(test)]
mod tests;
