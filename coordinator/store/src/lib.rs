//! The job table: what is true about sweeps, jobs, attempts and workers. [`Store`] is the one trait; [`MemoryStore`] and [`SqlStore`], over
//! SQLite or Postgres, carry it out and pass one conformance suite. Every write names the coordinator's term and `now`; every change of a
//! job names its attempt. Decisions come from `coordinator_core`, so the implementations differ only in how they keep rows.

pub mod error;
mod lead;
mod memory;
pub mod model;
mod sql;
mod store;

pub use error::StoreError;
pub use lead::{Lead, Leader};
pub use memory::MemoryStore;
pub use sql::{Leadership, Observer, SqlStore};
pub use store::Store;
