//! Low-rank adapters: what one adapter is, how many stand together in a bank, who owns which rows of a pass, the optimiser that moves
//! them, and their files.
//!
//! Every adapted projection computes `base(x) + Σ_i w_i · (α/r) · (x A_iᵀ) B_iᵀ`, always as two products in the low rank. Matrices keep
//! the orientation of PEFT files everywhere: `A` is `[r, d_in]`, `B` is `[d_out, r]`.

mod adamw;
mod adapter;
mod bank;
pub mod peft;
mod routed;
mod shape;

pub use adamw::{AdamW, Moments, NonFinite};
pub use adapter::Adapter;
pub use bank::{Bank, BankError, SlotId, Step};
pub use routed::{Gradients, RoutedBank, Routing};
pub use shape::{AdapterShape, ShapeError, SiteShape};
