//! The Berkeley Function Calling Leaderboard, natively: data files, decoder, checker.
//!
//! Verdicts and error types are those of the official package `bfcl-eval` 2026.3.23 in prompting mode.

pub mod category;
pub mod data;
pub mod gold;
pub mod render;
pub mod value;

pub use category::{Category, UnknownCategory};
pub use data::{DataError, Entry, EntryId, Message, read_category};
pub use gold::{FunctionDoc, GoldCall};
pub use render::render_calls;
pub use value::{Call, Value};
