//! The contract between operators, coordinator, worker and runner: messages, ids, states with their allowed moves, error codes.

pub mod error;
pub mod id;
pub mod pipe;
pub mod state;

use std::time::Duration;

/// How long a worker trusts what it has seen or put in the object store without a commit that names it. After that it looks again, as
/// the garbage collector may have taken it; the collector in turn refuses such commits for longer than this.
pub const UPLOAD_TRUST: Duration = Duration::from_secs(300);

/// Generated gRPC messages and services.
#[cfg(feature = "wire")]
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("quiver.v1");

    /// The path of every method, such as `/quiver.v1.Fleet/Register`.
    pub const METHODS: &[&str] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));
}
