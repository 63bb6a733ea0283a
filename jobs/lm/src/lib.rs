//! Decoder language models (Qwen2/2.5, Qwen3, Llama 3.x) and a BERT encoder on Burn.
//!
//! All work of the decoder is explicit: every operation in [`ops`] is a forward and a backward function over plain tensors (no autodiff
//! graph), with a twin built from Burn's differentiable operations in its tests. So memory is what the code keeps, a frozen base never
//! gets a gradient, and another engine can replace one operation at a time.

pub mod adapt;
pub mod batch;
pub mod bert;
mod block;
pub mod checkpoint;
pub mod decoder;
pub mod device;
pub mod generate;
pub mod ops;
pub mod params;
pub mod pool;
mod sample;

/// A matrix of activations: `[rows, features]`, one row per token of a packed batch.
pub type Rows = burn::tensor::Tensor<2>;
