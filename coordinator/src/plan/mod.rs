//! From a manifest to jobs with keys: what the server's [`Planner`](crate::server::planner::Planner) is.
//!
//! Every point of the manifest's matrix becomes jobs ([`point`]) over inputs that are files of this machine ([`inputs`]); jobs that
//! points share are one ([`merge`]). Planning reads and hashes, and writes nothing; importing brings the inputs into the store.

mod data;
mod inputs;
mod manifest_planner;
mod merge;
mod model;
mod point;

pub use manifest_planner::{ManifestPlanner, plan};
pub use merge::STAGES;

#[cfg(test)]
mod tests;
