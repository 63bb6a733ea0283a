//! Pure decisions of the control plane: facts, a policy and `now` go in, a decision comes out. Nothing here waits, reads a clock, draws a
//! number or touches a table, so every decision can be tested with values alone; the job table carries them out
//! (`orchestration` §5).

pub mod eta;
pub mod explain;
pub mod invariants;
pub mod lease;
pub mod offer;
pub mod policy;
pub mod retry;
pub mod sweep;
pub mod time;
pub mod waive;
