//! The operations of the decoder: a forward and a backward function each, over plain tensors.
//!
//! No row of a result depends on which other rows are in the pass, bit for bit: products go through [`linear::product`], and whatever
//! reduces over tokens does so within one segment. The exception are gradients of the model's own weights, which sum over all rows.

pub mod attention;
pub mod embedding;
pub mod head;
pub mod host;
pub mod layer_norm;
pub mod linear;
pub mod rms_norm;
pub mod rotary;
pub mod swiglu;

use burn::tensor::{DType, FloatDType, Tensor};

/// The tensor in f32: bf16 loses sums and exponentials.
pub fn widened<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if x.dtype() == DType::F32 { x } else { x.cast(FloatDType::F32) }
}

/// The tensor in the precision of another.
pub fn like<const D: usize, const E: usize>(x: Tensor<D>, other: &Tensor<E>) -> Tensor<D> {
    if x.dtype() == other.dtype() { x } else { x.cast(other.dtype()) }
}

/// Copies a tensor to the host.
pub(crate) fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    #[expect(
        clippy::expect_used,
        reason = "every tensor here is f32 or bf16; a device that fails cannot go on"
    )]
    tensor.try_into_vec_as::<f32>().expect("an f32 tensor on a working device")
}

#[cfg(test)]
mod tests;
