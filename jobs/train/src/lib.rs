//! Training: samples and their order, schedules, checkpoints, guards, the fan that trains many adapters in shared passes, and the
//! trainer of a whole model.

pub mod checkpoint;
pub mod fan;
pub mod full;
pub mod guard;
pub mod parts;
pub mod sample;
pub mod schedule;
pub mod seed;
