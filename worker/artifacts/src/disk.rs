//! Room on the node's disk.

use std::path::{Path, PathBuf};

use proto_kit::offload::offload;

use crate::{ArtifactError, Result};

/// Bytes that this user may still write to a folder's file system. Blocks.
///
/// # Errors
/// When the folder does not exist or cannot be asked.
pub fn free_bytes(folder: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(folder);
    let found = found.map_err(|error| ArtifactError::local("measure", folder, error.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Refuses what cannot fit before the first byte is written.
pub(crate) async fn check_room(folder: PathBuf, needed: u64) -> Result<()> {
    offload(move || match free_bytes(&folder)? {
        free if free < needed => Err(ArtifactError::DiskFull { needed, free, folder }),
        _ => Ok(()),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_fit_is_refused_with_both_figures() {
        let folder = tempfile::tempdir().unwrap();
        check_room(folder.path().to_owned(), 1).await.unwrap();
        let error = check_room(folder.path().to_owned(), u64::MAX).await.unwrap_err();
        assert!(matches!(error, ArtifactError::DiskFull { needed: u64::MAX, .. }), "{error}");
        assert!(free_bytes(&folder.path().join("none")).is_err());
    }
}
