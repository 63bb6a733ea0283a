//! The manifest: what a person writes to ask for a sweep. `docs/manifest.md` is its reference.
//!
//! [`parse`] turns its text into typed, checked points. Text becomes a tree that knows its lines ([`tree`]), the tree is read as
//! types ([`read`]) and the values are checked ([`check`]); every mistake on the way is one [`ManifestError`] with file, line and field.

mod check;
mod document;
mod evaluate;
mod read;
mod stages;
mod sweep;
mod tree;

pub use document::{Document, ManifestError, Point, Setting, parse};
pub use evaluate::{AdapterSet, Evaluate, Generation, Variant, Weights};
pub use stages::{
    DocumentFree, Embed, Finetune, FinetuneOrder, Gate, Layer, Learners, Pooling, Pretrain, Prompt,
    PromptStyle, QueryEncoder, Stages, ToolVector,
};
pub use sweep::{Base, BaseTraining, Bfcl, Dataset, Manifest, Records, Synthesis};

#[cfg(test)]
mod tests;
