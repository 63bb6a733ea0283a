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
    /// The store failed.
    #[error("cannot {action} `{object}` in {store}: {source}")]
    Store {
        /// The store's address.
        store: String,
        /// The verb.
        action: &'static str,
        /// The object's key.
        object: String,
        /// The store's words.
        source: Box<object_store::Error>,
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
            Self::Address { .. } => ErrorCode::Spec,
            Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Size { .. }
            | Self::Full { .. }
            | Self::Store { .. }
            | Self::Local { .. } => ErrorCode::Storage,
        }
    }

    /// Wraps what a store said while doing `action` to `object`.
    pub(crate) fn store(
        store: &str,
        action: &'static str,
        object: &str,
        source: object_store::Error,
    ) -> Self {
        let (store, object) = (store.to_owned(), object.to_owned());
        if matches!(source, object_store::Error::NotFound { .. }) {
            return Self::Missing { object, store };
        }
        if is_full(&source) {
            return Self::Full { place: store, object };
        }
        Self::Store { store, action, object, source: Box::new(source) }
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
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let full = |error: &io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    error.downcast_ref().is_some_and(full) || error.source().is_some_and(is_full)
}
