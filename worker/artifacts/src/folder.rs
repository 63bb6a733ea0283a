//! A folder as a store. What is written there is synced to the disk before it counts as written: each object by itself, or many together,
//! for which the disk is waited for once instead of twice an object.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use proto_kit::offload::offload;

use crate::address::Opened;
use crate::words::Speaker;
use crate::{ArtifactError, Result};

/// The way to write many objects together.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Syncs nothing.
    pub(crate) unsynced: Arc<dyn ObjectStore>,
}

impl Folder {
    /// Opens a folder, which is created.
    pub(crate) fn open(path: PathBuf, wrong: &dyn Fn(String) -> ArtifactError) -> Result<Opened> {
        std::fs::create_dir_all(&path).map_err(|source| ArtifactError::local("create", &path, source))?;
        let path = path.canonicalize().map_err(|source| ArtifactError::local("open", &path, source))?;
        let store = || LocalFileSystem::new_with_prefix(&path).map_err(|error| wrong(error.to_string()));
        let address = url::Url::from_file_path(&path).map_err(|()| wrong("is not absolute".to_owned()))?;
        Ok(Opened {
            store: Arc::new(store()?.with_fsync(true)),
            speaker: Speaker::new(address.as_str(), vec![]),
            folder: Some(Arc::new(Self { unsynced: Arc::new(store()?), path })),
        })
    }

    /// Returns once all that was written to the folder's file system before is on the disk.
    pub(crate) async fn sync(&self) -> Result<()> {
        let path = self.path.clone();
        let synced = offload(move || rustix::fs::syncfs(std::fs::File::open(path)?).map_err(Into::into));
        synced.await.map_err(|source| ArtifactError::local("sync", &self.path, source))
    }
}
