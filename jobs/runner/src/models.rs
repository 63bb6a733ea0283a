//! The models that a lane keeps loaded between jobs: loading a base takes longer than many an evaluation.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use jobs_lm::decoder::Decoder;

use crate::error::JobError;

/// A file as the file system knows it. Inputs are links into the node's cache, so the same content is the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity(Vec<(PathBuf, u64, u64, i64)>);

impl Identity {
    fn of(folder: &Path) -> std::io::Result<Self> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let meta = std::fs::metadata(entry.path())?;
            files.push((PathBuf::from(entry.file_name()), meta.dev(), meta.ino(), meta.mtime_nsec()));
        }
        files.sort();
        Ok(Self(files))
    }
}

/// The newest base model that the lane has used.
pub(crate) struct Models {
    device: Device,
    base: Option<(Identity, Arc<Decoder>)>,
}

impl Models {
    /// Nothing loaded yet.
    pub(crate) fn new(device: Device) -> Self {
        Self { device, base: None }
    }

    /// The base model in a folder, loaded unless it is the one at hand.
    pub(crate) fn base(&mut self, folder: &Path) -> Result<Arc<Decoder>, JobError> {
        let identity =
            Identity::of(folder).map_err(|e| JobError::storage(format!("{}: {e}", folder.display())))?;
        if let Some((known, decoder)) = &self.base
            && *known == identity
        {
            return Ok(Arc::clone(decoder));
        }
        self.base = None;
        let decoder = Arc::new(Decoder::load(folder, &self.device).map_err(JobError::data)?);
        self.base = Some((identity, Arc::clone(&decoder)));
        Ok(decoder)
    }
}
