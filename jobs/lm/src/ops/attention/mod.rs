//! Grouped-query attention over packed segments; no row sees another segment.
//!
//! Only queries, keys and values are kept between forward and backward: probabilities are computed anew, a block of query rows at a time, so
//! that memory grows with the length of a segment and not with its square. Segments are computed in parallel.

mod kernel;
mod twin;

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use super::host::{self, Numbers};
use super::{like, widened};
use crate::Rows;
use kernel::Shape;

/// Which keys a row sees within its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Its own and earlier ones.
    Causal,
    /// All.
    Full,
}

/// Queries `[rows, heads, head_dim]`, keys and values `[rows, kv_heads, head_dim]`, rotated already.
#[derive(Clone, Debug)]
pub struct Heads {
    /// Queries.
    pub q: Tensor<3>,
    /// Keys.
    pub k: Tensor<3>,
    /// Values.
    pub v: Tensor<3>,
}

impl Heads {
    fn shape(&self) -> Shape {
        let [_, heads, width] = self.q.dims();
        Shape { heads, kv_heads: self.k.dims()[1], width }
    }

    fn numbers(&self) -> Option<[Numbers; 3]> {
        Some([Numbers::of(&self.q)?, Numbers::of(&self.k)?, Numbers::of(&self.v)?])
    }
}

/// Attention of every segment: `[rows, heads · head_dim]`.
pub fn forward(heads: &Heads, segments: &[Range<usize>], sight: Sight) -> Rows {
    let Some([q, k, v]) = heads.numbers() else { return twin::forward(heads, segments, sight) };
    let [rows, count, width] = heads.q.dims();
    let out = kernel::forward(heads.shape(), [&q, &k, &v], segments, sight);
    host::tensor(out, [rows, count * width])
}

/// Gradients of queries, keys and values, given `d_out` of shape `[rows, heads · head_dim]`.
pub fn backward(heads: &Heads, segments: &[Range<usize>], sight: Sight, d_out: &Rows) -> Heads {
    let (Some([q, k, v]), Some(d)) = (heads.numbers(), Numbers::of(d_out)) else {
        return twin::backward(heads, segments, sight, d_out);
    };
    let [dq, dk, dv] = kernel::backward(heads.shape(), [&q, &k, &v], segments, sight, &d);
    let (shape, kv_shape) = (heads.q.dims(), heads.k.dims());
    Heads { q: host::tensor(dq, shape), k: host::tensor(dk, kv_shape), v: host::tensor(dv, kv_shape) }
}

/// Attention of one new query per sequence, `q` of shape `[1, heads, head_dim]`, over the first `seen` cached keys and values of shape
/// `[kv_heads, capacity, head_dim]`: `[1, heads · head_dim]`.
pub fn step(q: Tensor<3>, keys: &Tensor<3>, values: &Tensor<3>, seen: usize) -> Rows {
    let [_, heads, width] = q.dims();
    let kv_heads = keys.dims()[0];
    let q = q.reshape([kv_heads, heads / kv_heads, width]) * (width as f32).powf(-0.5);
    let p = softmax(widened(q.matmul(twin::first_rows(keys, seen).transpose())), 2);
    like(p, values).matmul(twin::first_rows(values, seen)).reshape([1, heads * width])
}
