//! Room on the node's disk: without enough of it no job is taken, because it would fail only after hours.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto_kit::offload::offload;
use tokio::time::sleep;

use crate::size::Size;

/// How often a full disk is looked at.
const POLL: Duration = Duration::from_secs(2);

/// Tells how many bytes are free where a folder lies.
pub type FreeSpace = Arc<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// Asks the machine's file system.
pub(crate) fn free_space(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The disk under the worker's folder.
pub(crate) struct Disk {
    folder: PathBuf,
    wanted: Size,
    free_space: FreeSpace,
    short: AtomicBool,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("folder", &self.folder)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// The disk under `folder`, of which `wanted` must be free; 0 asks for nothing.
    pub(crate) fn new(folder: PathBuf, wanted: Size, free_space: FreeSpace) -> Self {
        Self { folder, wanted, free_space, short: AtomicBool::new(false) }
    }

    /// Waits until there is room. The first who has to says so, and the first who no longer has to.
    pub(crate) async fn room(&self) {
        while !self.has_room().await {
            sleep(POLL).await;
        }
    }

    async fn has_room(&self) -> bool {
        if self.wanted == Size(0) {
            return true;
        }
        let (folder, free_space) = (self.folder.clone(), Arc::clone(&self.free_space));
        let free = match offload(move || free_space(&folder)).await {
            Ok(free) => Size(free),
            Err(error) => {
                tracing::debug!(%error, "the disk's free space is unknown");
                return true;
            }
        };
        let short = free < self.wanted;
        if self.short.swap(short, Ordering::Relaxed) != short {
            let (folder, wanted) = (self.folder.display(), self.wanted);
            if short {
                tracing::warn!(%free, %wanted, %folder, "the disk is short of room: no jobs are taken");
            } else {
                tracing::info!(%free, %wanted, %folder, "the disk has room again");
            }
        }
        !short
    }
}
