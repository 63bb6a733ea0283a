//! The ParaTool method: one adapter per tool, a gate that weighs the candidates' adapters, joint finetuning under its weights, and the
//! agent loop that answers with them. `docs` of the method's settings are the types in [`jobs_spec`].
//!
//! | stage | module | from → to |
//! |---|---|---|
//! | pretrain | [`stage1_pretrain`] | one tool's traces → its adapter |
//! | embed | [`embed`] | questions and documents → frozen vectors |
//! | gate | [`stage2_gate`] | vectors and traces → the gate |
//! | finetune | [`stage3_joint`] | all adapters, the gate, all traces → all adapters |
//! | evaluate | [`evaluate`] with [`agent`] | held-out entries → answers, verdicts, a report |

pub mod agent;
pub mod embed;
pub mod evaluate;
mod failure;
pub mod gate;
mod network;
pub mod objective;
mod progress;
pub mod samples;
pub mod stage1_pretrain;
pub mod stage2_gate;
pub mod stage3_joint;
mod tensors;
#[cfg(test)]
mod testing;

pub use failure::Failure;
pub use progress::{Checkpointing, Progress, Unwatched};
