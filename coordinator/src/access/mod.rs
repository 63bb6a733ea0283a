//! Who may call what: bearer tokens with roles, limits of rates, and a count of everything that is refused.

mod guard;
mod holders;
mod pace;
mod refusals;
mod rights;
pub mod token;

pub use guard::Access;
pub use refusals::{Cause, Refusals};

pub(crate) use guard::{Guard, guarded};
pub(crate) use holders::Holders;
