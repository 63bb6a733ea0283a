//! Attention by Burn's operations. The query heads of one key-value head are folded into rows, so keys and values are never repeated.

use std::ops::Range;

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};

use super::{Heads, Sight};
use crate::Rows;
use crate::ops::{like, widened};

/// Query rows (tokens) whose scores are in memory at once, per segment.
const BLOCK: usize = 256;

/// Score of a key that a query must not see: its probability is exactly 0. Every row sees itself, so none is all of these.
const UNSEEN: f32 = f32::NEG_INFINITY;

/// One segment in the layout of its products: `q` is `[kv_heads, group, len, head_dim]`, keys and values `[kv_heads, len, head_dim]`.
struct Segment {
    q: Tensor<4>,
    k: Tensor<3>,
    v: Tensor<3>,
}

impl Segment {
    fn new(heads: &Heads, rows: &Range<usize>) -> Self {
        let kv_heads = heads.k.dims()[1];
        Self {
            q: grouped(&heads.q, rows, kv_heads),
            k: heads.k.clone().slice(rows.clone()).swap_dims(0, 1),
            v: heads.v.clone().slice(rows.clone()).swap_dims(0, 1),
        }
    }

    /// Query blocks and the number of keys each sees, longest first.
    fn blocks(&self, sight: Sight) -> impl Iterator<Item = (Range<usize>, usize)> {
        let len = self.k.dims()[1];
        (0..len).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(len)).rev().map(move |block| {
            match sight {
                Sight::Causal => (block.clone(), block.end),
                Sight::Full => (block, len),
            }
        })
    }

    /// A block's queries with the group folded into rows, `[kv_heads, group · block, head_dim]`, scaled.
    fn queries(&self, block: &Range<usize>) -> Tensor<3> {
        let width = self.q.dims()[3];
        folded(&self.q, block) * (width as f32).powf(-0.5)
    }

    /// Probabilities of the first `seen` keys for a block's queries, `[kv_heads, group · block, seen]`, in f32.
    fn probabilities(
        &self,
        queries: &Tensor<3>,
        block: &Range<usize>,
        seen: usize,
        sight: Sight,
    ) -> Tensor<3> {
        let [kv_heads, group, ..] = self.q.dims();
        let keys = first_rows(&self.k, seen).transpose();
        let scores = queries.clone().matmul(keys);
        let scores = match sight {
            Sight::Full => scores,
            Sight::Causal => {
                let later =
                    Tensor::<2, Bool>::tril_mask([block.len(), seen], block.start as i64, &scores.device());
                let shape = [kv_heads * group, block.len(), seen];
                let later = later.unsqueeze::<3>().expand(shape);
                let shape = scores.dims();
                scores.reshape([kv_heads * group, block.len(), seen]).mask_fill(later, UNSEEN).reshape(shape)
            }
        };
        softmax(widened(scores), 2)
    }

    fn forward(&self, sight: Sight) -> Rows {
        let [kv_heads, group, _, width] = self.q.dims();
        let mut blocks: Vec<_> = self
            .blocks(sight)
            .map(|(block, seen)| {
                let p = self.probabilities(&self.queries(&block), &block, seen, sight);
                unfolded(like(p, &self.v).matmul(first_rows(&self.v, seen)), group, block.len())
            })
            .collect();
        blocks.reverse();
        Tensor::cat(blocks, 0).reshape([-1, (kv_heads * group * width) as i32])
    }

    /// Gradients of q, k and v, given the output's: all `[len, heads, head_dim]` of their kind.
    fn backward(&self, d_out: &Tensor<4>, sight: Sight) -> [Tensor<3>; 3] {
        let [_, group, len, width] = self.q.dims();
        let scale = (width as f32).powf(-0.5);
        let (mut dq, mut dk, mut dv) = (Vec::new(), None, None);
        for (block, seen) in self.blocks(sight) {
            let queries = self.queries(&block);
            let p = self.probabilities(&queries, &block, seen, sight);
            let d_out = folded(d_out, &block);
            add_first_rows(&mut dv, like(p.clone(), &d_out).transpose().matmul(d_out.clone()), len);
            let dp = widened(d_out.matmul(first_rows(&self.v, seen).transpose()));
            let along = (p.clone() * dp.clone()).sum_dim(2);
            let d_scores = like((dp - along) * p, &queries);
            add_first_rows(&mut dk, d_scores.clone().transpose().matmul(queries), len);
            let d_queries = d_scores.matmul(first_rows(&self.k, seen)) * scale;
            dq.push(unfolded(d_queries, group, block.len()));
        }
        dq.reverse();
        let kv = |sum: Option<Tensor<3>>| sum.unwrap_or_else(|| self.k.zeros_like()).swap_dims(0, 1);
        [Tensor::cat(dq, 0), kv(dk), kv(dv)]
    }
}

/// Rows of one segment as `[kv_heads, group, len, head_dim]`, a view.
fn grouped(x: &Tensor<3>, rows: &Range<usize>, kv_heads: usize) -> Tensor<4> {
    let [_, heads, width] = x.dims();
    x.clone()
        .slice(rows.clone())
        .reshape([rows.len(), kv_heads, heads / kv_heads, width])
        .permute([1, 2, 0, 3])
}

/// A block of rows with the group folded in: `[kv_heads, group · block, head_dim]`.
fn folded(x: &Tensor<4>, block: &Range<usize>) -> Tensor<3> {
    let [kv_heads, group, _, width] = x.dims();
    x.clone().slice([0..kv_heads, 0..group, block.clone()]).reshape([kv_heads, group * block.len(), width])
}

/// The inverse of [`folded`]: `[block, heads, head_dim]`.
fn unfolded(x: Tensor<3>, group: usize, block: usize) -> Tensor<3> {
    let [kv_heads, _, width] = x.dims();
    x.reshape([kv_heads, group, block, width]).permute([2, 0, 1, 3]).reshape([block, kv_heads * group, width])
}

pub(super) fn first_rows(x: &Tensor<3>, rows: usize) -> Tensor<3> {
    let [heads, _, width] = x.dims();
    x.clone().slice([0..heads, 0..rows, 0..width])
}

/// Adds to the first rows of a sum over blocks. Under causal sight the block seen first reaches all rows.
fn add_first_rows(sum: &mut Option<Tensor<3>>, part: Tensor<3>, len: usize) {
    let [heads, rows, width] = part.dims();
    *sum = Some(match sum.take() {
        None => part,
        Some(sum) if rows == len => sum + part,
        Some(sum) => {
            let range = [0..heads, 0..rows, 0..width];
            let first = sum.clone().slice(range.clone()) + part;
            sum.slice_assign(range, first)
        }
    });
}

/// As [`super::forward`].
pub(crate) fn forward(heads: &Heads, segments: &[Range<usize>], sight: Sight) -> Rows {
    Tensor::cat(segments.iter().map(|rows| Segment::new(heads, rows).forward(sight)).collect(), 0)
}

/// As [`super::backward`].
pub(crate) fn backward(heads: &Heads, segments: &[Range<usize>], sight: Sight, d_out: &Rows) -> Heads {
    let kv_heads = heads.k.dims()[1];
    let d_out = d_out.clone().reshape(heads.q.dims());
    let [mut q, mut k, mut v] = [(); 3].map(|()| Vec::with_capacity(segments.len()));
    for rows in segments {
        let [dq, dk, dv] = Segment::new(heads, rows).backward(&grouped(&d_out, rows, kv_heads), sight);
        q.push(dq);
        k.push(dk);
        v.push(dv);
    }
    Heads { q: Tensor::cat(q, 0), k: Tensor::cat(k, 0), v: Tensor::cat(v, 0) }
}
