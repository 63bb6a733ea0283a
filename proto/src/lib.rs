//! The contract between operators, coordinator, worker and runner: messages, ids, states with their allowed moves, error codes.

pub mod error;
pub mod id;
pub mod pipe;
pub mod state;
pub mod version;

/// Generated gRPC messages and services.
#[cfg(feature = "wire")]
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("quiver.v1");
}

/// The contract as a `FileDescriptorSet`, for those who ask what it holds.
#[cfg(feature = "wire")]
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quiver.bin"));
