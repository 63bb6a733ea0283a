//! What can go wrong with artifacts: one line each, with object or file and cause.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use proto::error::ErrorCode;
use proto::id::Digest;

/// Why an artifact could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The store's address cannot be used by this build.
    #[error("artifact store `{url}`: {reason}")]
    Address {
        /// The address as given.
        url: String,
        /// Why not.
        reason: String,
    },
    /// An object that must exist does not.
    #[error("`{object}` does not exist in {store}")]
    Missing {
        /// The object's key.
        object: String,
        /// The store's address.
        store: String,
    },
    /// An object's content is not what its digest says.
    #[error("`{object}` is damaged: expected sha256 {expected}, got {got}")]
    Damaged {
        /// The object's key, or the local file.
        object: String,
        /// The digest that names it.
        expected: Digest,
        /// The digest of what was read.
        got: Digest,
    },
    /// An object has another size than its content must have.
    #[error("`{object}` is damaged: expected {expected} bytes, got {got}")]
    Size {
        /// The object's key, or the local file.
        object: String,
        /// Bytes that it must have.
        expected: u64,
        /// Bytes that it has.
        got: u64,
    },
    /// A disk is full. Nothing was written half.
    #[error("no space left in {place} to write `{object}`")]
    Full {
        /// The store's address or the local folder.
        place: String,
        /// The object's key or the local file.
        object: String,
    },
    /// A download does not fit on the node's disk, even after the cache gave up what nobody uses. Nothing was written.
    #[error("{} has {free} bytes free and needs {needed}", folder.display())]
    DiskFull {
        /// Bytes to write.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Where to.
        folder: PathBuf,
    },
    /// The store failed. Trying again may help, and what was to be written may be there all the same.
    #[error("cannot {action} `{object}` in {store}: {reason}")]
    Store {
        /// The store's address.
        store: String,
        /// The verb.
        action: &'static str,
        /// The object's key.
        object: String,
        /// The store's words, in one line and without credentials.
        reason: String,
    },
    /// The store will not do it, however often it is asked: credentials are missing or wrong, there is no such bucket, a folder cannot
    /// be written.
    #[error("cannot {action} `{object}` in {store}: {reason}")]
    Refused {
        /// The store's address.
        store: String,
        /// The verb.
        action: &'static str,
        /// The object's key.
        object: String,
        /// The store's words, in one line and without credentials.
        reason: String,
    },
    /// A local file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Local {
        /// The verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// An export would overwrite a file that is something else. Nothing was written.
    #[error("{} exists and differs from the artifact's file", path.display())]
    Differs {
        /// The file.
        path: PathBuf,
    },
    /// A path that may not stand in a manifest.
    #[error("path `{path}` cannot be part of an artifact: {reason}")]
    Path {
        /// The path.
        path: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A manifest that cannot be read.
    #[error("manifest `{object}`: {reason}")]
    Manifest {
        /// Its key.
        object: String,
        /// What is wrong.
        reason: String,
    },
}

impl ArtifactError {
    /// The code that a failed attempt carries.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Path { .. } | Self::Manifest { .. } => ErrorCode::Data,
            Self::Address { .. } | Self::Differs { .. } => ErrorCode::Spec,
            Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Size { .. }
            | Self::Full { .. }
            | Self::DiskFull { .. }
            | Self::Store { .. }
            | Self::Refused { .. }
            | Self::Local { .. } => ErrorCode::Storage,
        }
    }

    /// Whether the same call may succeed a moment later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Store { .. })
    }

    /// Wraps what the system said while doing `action` to the local `path`.
    pub(crate) fn local(action: &'static str, path: &Path, source: io::Error) -> Self {
        if is_full(&source) {
            let place = path.parent().unwrap_or(path).display().to_string();
            return Self::Full { place, object: path.display().to_string() };
        }
        Self::Local { action, path: path.to_owned(), source }
    }
}

/// Whether a full disk or a spent quota is at the bottom of an error.
pub(crate) fn is_full(error: &(dyn Error + 'static)) -> bool {
    let full = |error: &io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    error.downcast_ref().is_some_and(full) || error.source().is_some_and(is_full)
}
