//! Manifest, job specs and keys: plain serde types shared by the coordinator's planner and the runner.
//!
//! A manifest is what a person writes; [`job::JobSpec`] is what one job computes; [`key`] turns a spec and its inputs into the job's
//! identity; [`model`] is a base model's sizes. Nothing here holds tensors or does I/O beyond reading a `config.json` and the header of a
//! weight file.

pub mod category;
pub mod job;
pub mod key;
pub mod manifest;
pub mod memory;
pub mod model;
pub mod weights;
