//! The worker's folder on the node: claimed by one process at a time, its scratch files cleared at the start and the end.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto_kit::offload::offload;
use tokio::time::{Instant, sleep};

use crate::error::Error;

/// How long a worker waits for its predecessor to leave the folder.
const PATIENCE: Duration = Duration::from_secs(10);

/// A folder that belongs to this process until the claim is dropped.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// The folder, absolute.
    pub(crate) path: PathBuf,
    _lock: File,
}

/// Claims a folder, which is created. A predecessor that is on its way out is waited for.
pub(crate) async fn claim(dir: &Path) -> Result<Claimed, Error> {
    let wanted = dir.to_owned();
    let opened = offload(move || {
        std::fs::create_dir_all(&wanted)?;
        let path = wanted.canonicalize()?;
        let lock = File::options().create(true).append(true).open(path.join("lock"))?;
        io::Result::Ok((path, lock))
    });
    let (path, lock) = opened.await.map_err(|error| Error::folder("use the folder", dir, error))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Claimed { path, _lock: lock }),
            Err(TryLockError::Error(error)) => return Err(Error::folder("lock", &path, error)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(Error::FolderTaken(path));
            }
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Removes a folder if it is there.
pub(crate) async fn clear(folder: &Path) -> Result<(), Error> {
    remove_all(folder).await.map_err(|error| Error::folder("clear", folder, error))
}

/// Removes a folder that nobody needs; the next start removes what could not be removed now.
pub(crate) async fn remove(folder: PathBuf) {
    if let Err(error) = remove_all(&folder).await {
        tracing::debug!(%error, folder = %folder.display(), "a folder could not be removed");
    }
}

async fn remove_all(folder: &Path) -> io::Result<()> {
    let folder = folder.to_owned();
    match offload(move || std::fs::remove_dir_all(folder)).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
