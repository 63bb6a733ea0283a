//! Who may call what: bearer tokens with roles, limits of rates, and a count of everything that is refused.

mod cause;
mod guard;
mod holders;
mod pace;
mod rights;
pub mod token;

pub use cause::Cause;
pub use guard::Access;

pub(crate) use guard::{Guard, guarded};
pub(crate) use holders::Holders;
