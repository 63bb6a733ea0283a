//! The job table: what is true about sweeps, jobs, attempts and workers. [`Store`] is the one trait; [`memory`] and [`sqlite`] carry it out
//! and pass one conformance suite. Every write names the coordinator's term and `now`; every change of a job names its attempt. Decisions
//! come from `coordinator_core`, so the implementations differ only in how they keep rows.

pub mod error;
pub mod memory;
pub mod model;
pub mod sqlite;
mod store;

pub use error::StoreError;
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use store::Store;
