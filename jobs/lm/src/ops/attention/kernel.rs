//! Attention on plain slices: head by head, a block of query rows at a time, so that scores stay in the cache.

use std::ops::Range;

use rayon::prelude::*;

use super::Sight;
use crate::ops::host::{self, Matrix, Target, multiply};

/// Query rows whose scores are in memory at once.
const BLOCK: usize = 64;

/// Heads of one attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) width: usize,
}

impl Shape {
    /// Numbers of a row of queries.
    fn row(self) -> usize {
        self.heads * self.width
    }

    /// Numbers of a row of keys or values.
    fn kv_row(self) -> usize {
        self.kv_heads * self.width
    }

    /// Where a head's query and its keys begin within their rows.
    fn starts(self) -> impl Iterator<Item = (usize, usize)> {
        let group = self.heads / self.kv_heads;
        (0..self.heads).map(move |head| (head * self.width, head / group * self.width))
    }
}

/// One segment: rows of queries, keys and values.
#[derive(Clone, Copy)]
struct Segment<'a> {
    shape: Shape,
    sight: Sight,
    len: usize,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

/// A block of query rows of one head, and the keys that it sees.
struct Block {
    rows: Range<usize>,
    seen: usize,
}

impl<'a> Segment<'a> {
    fn new(shape: Shape, [q, k, v]: [&'a [f32]; 3], rows: &Range<usize>, sight: Sight) -> Self {
        let own = |all: &'a [f32], row: usize| &all[rows.start * row..rows.end * row];
        let (row, kv_row) = (shape.row(), shape.kv_row());
        Self { shape, sight, len: rows.len(), q: own(q, row), k: own(k, kv_row), v: own(v, kv_row) }
    }

    fn blocks(self) -> impl Iterator<Item = Block> {
        let rows = (0..self.len).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(self.len));
        rows.map(move |rows| match self.sight {
            Sight::Causal => Block { seen: rows.end, rows },
            Sight::Full => Block { seen: self.len, rows },
        })
    }

    fn scale(self) -> f32 {
        (self.shape.width as f32).powf(-0.5)
    }

    /// A block of rows of one head.
    fn queries<'b>(self, all: &'b [f32], block: &Block, start: usize) -> Matrix<'b> {
        let row = self.shape.row();
        Matrix::new(&all[block.rows.start * row + start..], block.rows.len(), self.shape.width, row)
    }

    /// The keys or values of one head that a block sees.
    fn seen<'b>(self, all: &'b [f32], block: &Block, start: usize) -> Matrix<'b> {
        Matrix::new(&all[start..], block.seen, self.shape.width, self.shape.kv_row())
    }

    /// Probabilities `[block, seen]`; those of unseen keys are 0.
    fn probabilities(self, block: &Block, (start, kv_start): (usize, usize), p: &mut Vec<f32>) {
        let seen = block.seen;
        p.resize(block.rows.len() * seen, 0.0);
        let (queries, keys) = (self.queries(self.q, block, start), self.seen(self.k, block, kv_start));
        multiply(Target::set(p, seen), self.scale(), queries, keys.t());
        host::wide(|| {
            for (at, row) in block.rows.clone().zip(p.chunks_exact_mut(seen)) {
                let (own, later) = row.split_at_mut(if self.sight == Sight::Causal { at + 1 } else { seen });
                let (_, sum) = host::exp_row(own);
                let share = 1.0 / sum;
                own.iter_mut().for_each(|p| *p *= share);
                later.fill(0.0);
            }
        });
    }

    fn forward(self, out: &mut [f32]) {
        let row = self.shape.row();
        let mut p = Vec::new();
        for (start, kv_start) in self.shape.starts() {
            for block in self.blocks() {
                self.probabilities(&block, (start, kv_start), &mut p);
                let p = Matrix::dense(&p, block.rows.len(), block.seen);
                let out = Target::set(&mut out[block.rows.start * row + start..], row);
                multiply(out, 1.0, p, self.seen(self.v, &block, kv_start));
            }
        }
    }

    /// Gradients of all heads are added to `dk` and `dv`, those of queries replace what is there.
    fn backward(self, d_out: &[f32], [dq, dk, dv]: [&mut [f32]; 3]) {
        let (row, kv_row) = (self.shape.row(), self.shape.kv_row());
        let (mut p, mut d_scores) = (Vec::new(), Vec::new());
        for (start, kv_start) in self.shape.starts() {
            for block in self.blocks() {
                let (rows, seen) = (block.rows.len(), block.seen);
                self.probabilities(&block, (start, kv_start), &mut p);
                let d_out = self.queries(d_out, &block, start);
                multiply(
                    Target::add(&mut dv[kv_start..], kv_row),
                    1.0,
                    Matrix::dense(&p, rows, seen).t(),
                    d_out,
                );
                d_scores.resize(rows * seen, 0.0);
                multiply(
                    Target::set(&mut d_scores, seen),
                    1.0,
                    d_out,
                    self.seen(self.v, &block, kv_start).t(),
                );
                host::wide(|| {
                    for (d, p) in d_scores.chunks_exact_mut(seen).zip(p.chunks_exact(seen)) {
                        let along = host::sum2(d, p, |d, p| d * p);
                        for (d, p) in d.iter_mut().zip(p) {
                            *d = (*d - along) * p;
                        }
                    }
                });
                let d_scores = Matrix::dense(&d_scores, rows, seen);
                let keys = self.seen(self.k, &block, kv_start);
                let dq = Target::set(&mut dq[block.rows.start * row + start..], row);
                multiply(dq, self.scale(), d_scores, keys);
                let queries = self.queries(self.q, &block, start);
                multiply(Target::add(&mut dk[kv_start..], kv_row), self.scale(), d_scores.t(), queries);
            }
        }
    }
}

/// Attention of every segment.
pub(super) fn forward(shape: Shape, heads: [&[f32]; 3], segments: &[Range<usize>], sight: Sight) -> Vec<f32> {
    let mut out = vec![0.0; heads[0].len()];
    let own = cut(&mut out, segments, shape.row());
    segments.par_iter().zip(own).for_each(|(rows, out)| Segment::new(shape, heads, rows, sight).forward(out));
    out
}

/// Gradients of queries, keys and values.
pub(super) fn backward(
    shape: Shape,
    heads: [&[f32]; 3],
    segments: &[Range<usize>],
    sight: Sight,
    d_out: &[f32],
) -> [Vec<f32>; 3] {
    let [mut dq, mut dk, mut dv] = heads.map(|numbers| vec![0.0; numbers.len()]);
    let own = cut(&mut dq, segments, shape.row())
        .into_iter()
        .zip(cut(&mut dk, segments, shape.kv_row()))
        .zip(cut(&mut dv, segments, shape.kv_row()));
    let own = own.map(|((dq, dk), dv)| [dq, dk, dv]).collect::<Vec<_>>();
    segments.par_iter().zip(own).for_each(|(rows, own)| {
        let d_out = &d_out[rows.start * shape.row()..rows.end * shape.row()];
        Segment::new(shape, heads, rows, sight).backward(d_out, own);
    });
    [dq, dk, dv]
}

/// Each segment's rows.
fn cut<'a>(mut all: &'a mut [f32], segments: &[Range<usize>], row: usize) -> Vec<&'a mut [f32]> {
    let mut own = Vec::with_capacity(segments.len());
    let mut before = 0;
    for rows in segments {
        let (_, behind) = all.split_at_mut((rows.start - before) * row);
        let (these, rest) = behind.split_at_mut(rows.len() * row);
        own.push(these);
        (all, before) = (rest, rows.end);
    }
    own
}
