//! Names of contents: SHA-256 and size.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use proto::id::Digest;
use sha2::{Digest as _, Sha256};

use crate::{ArtifactError, Result};

/// A content's name: what a blob holds is known by these two alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Blob {
    /// SHA-256 of the content.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl Blob {
    /// The key of the object that holds this content.
    pub fn object(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }
}

/// A SHA-256 that grows with its content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hasher {
    sha: Sha256,
    size: u64,
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub(crate) fn finish(self) -> Blob {
        Blob { digest: Digest::new(self.sha.finalize().into()), size: self.size }
    }
}

/// Names bytes.
pub fn hash_bytes(bytes: &[u8]) -> Blob {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Names a file's content, reading it piece by piece. Blocks.
///
/// # Errors
/// When the file cannot be read.
pub fn hash_file(path: &Path) -> Result<Blob> {
    let read = || -> std::io::Result<Blob> {
        let mut file = File::open(path)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let n = file.read(&mut buffer)?;
            match buffer.get(..n) {
                Some(piece) if !piece.is_empty() => hasher.update(piece),
                _ => return Ok(hasher.finish()),
            }
        }
    };
    read().map_err(|source| ArtifactError::local("read", path, source))
}
