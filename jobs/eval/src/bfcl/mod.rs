//! The Berkeley Function Calling Leaderboard, natively: data files, decoder, checker.
//!
//! Verdicts and error types are those of the official package `bfcl-eval` 2026.3.23 in prompting mode.

pub mod check;
pub mod data;
pub mod decode;
mod evaluate;
pub mod gold;
mod number;
mod percent;
mod python;
pub mod render;
pub mod value;

pub use check::{CheckError, check, judge};
pub use data::{DataError, Entry, EntryId, Message, read_category};
pub use decode::{DecodeError, decode};
pub use gold::{FieldError, FunctionDoc, GoldCall};
pub use jobs_spec::category::{Category, UnknownCategory};
pub use render::render_calls;
pub use value::{Call, Value};
