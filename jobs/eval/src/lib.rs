//! Scores: the BFCL decoder and checker, averages, report tables; no tensors.

pub mod bfcl;
pub mod report;
pub mod score;
