//! Tools, traces and held-out entries: read, validated, synthesised and written; no tensors.
//!
//! [`prepare()`] turns a manifest's dataset into a [`set::TrainingSet`] and one [`set::EntrySet`] per category. What has no published traces
//! gets them from [`synthesis`]; [`corpus`] makes the examples that a base model learns from; [`toolbox`] writes the example data set.

pub mod bfcl;
pub mod corpus;
pub mod error;
pub mod history;
mod lines;
pub mod marks;
pub mod prepare;
pub mod question;
pub mod records;
mod schema;
pub mod set;
pub mod synthesis;
pub mod tool;
pub mod toolbox;
pub mod trace;
pub mod validate;

pub use error::DataError;
pub use prepare::{Prepared, prepare};
