//! Data sets as files: what the planner imports as artifacts and jobs read back.

mod entries;
mod training;

pub use entries::{Entry, EntrySet};
pub use training::TrainingSet;
