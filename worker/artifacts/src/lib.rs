//! Content-addressed results over an object store. Only create-if-absent is asked of the store, and nothing is ever overwritten:
//!
//! 1. Each file goes to `blobs/sha256/<digest>`; one that exists already is a success after a check of its size.
//! 2. A [`Manifest`] names the files. It goes to a key of its writer's own (`manifests/<job key>/<attempt>`,
//!    `checkpoints/<job key>/<attempt>/<step>`, `manifests/imports/<digest>`); if that key exists, an earlier try of the same writer
//!    put it there, and that one counts.
//! 3. The manifest's key and digest, an [`ArtifactRef`], are what the job table records.
//!
//! Whoever dies between the steps leaves blobs that nothing names, never half an artifact. Readers verify every digest.

mod address;
mod cache;
mod commit;
mod disk;
mod error;
mod export;
#[cfg(feature = "testing")]
pub mod faulty;
mod fetch;
mod folder;
mod garbage;
mod hash;
mod import;
mod logs;
mod manifest;
mod store;
mod upload;
mod verify;
mod words;

pub use address::Variable;
pub use cache::{Cache, CacheFigures};
pub use commit::{Committed, Record};
pub use disk::free_bytes;
pub use error::ArtifactError;
pub use garbage::{LOGS, Listed, garbage, kind_of};
pub use hash::{Blob, hash_bytes, hash_file};
pub use import::{Import, ImportFile, Source};
pub use manifest::{ArtifactRef, FileEntry, Manifest, Origin};
pub use store::Artifacts;
pub use verify::{Problem, Verified};

/// Result of this crate's operations.
pub type Result<T> = std::result::Result<T, ArtifactError>;
