//! Adapted projections by Burn's operations, for every device but the CPU's memory.

use std::ops::Range;

use burn::tensor::TensorData;
use jobs_lm::Rows;
use jobs_lm::ops::{like, widened};

use super::{RoutedBank, Segment};
use crate::bank::Pair;

/// `base` and the changes of all segments of `x`.
pub(super) fn forward(bank: &RoutedBank, index: usize, x: &Rows, base: Rows) -> Rows {
    let change = |segment: &Segment, rows| {
        let middle = middle(segment, index, taken(x, rows));
        (middle.matmul(segment.pairs[index].b.clone().transpose()), ())
    };
    amend(bank, base, change).0
}

/// `dx` and the changes of all segments; the gradients of their adapters go to the bank's.
pub(super) fn backward(bank: &mut RoutedBank, index: usize, x: &Rows, dy: &Rows, dx: Rows) -> Rows {
    let change = |segment: &Segment, rows: Range<usize>| {
        let pair = &segment.pairs[index];
        let (x, dy) = (taken(x, rows.clone()), taken(dy, rows));
        let middle = middle(segment, index, x.clone());
        let d_middle = dy.clone().matmul(pair.b.clone()) * scale(segment, &x);
        let wide = Pair { a: d_middle.clone().transpose().matmul(x), b: dy.transpose().matmul(middle) };
        (d_middle.matmul(pair.a.clone()), segment.split(bank.shape.rank(), wide))
    };
    let (dx, found) = amend(bank, dx, change);
    for (slot, pair) in found.into_iter().flatten() {
        bank.gradients.add(slot, index, pair);
    }
    dx
}

/// The scaled middle `x Aᵀ`: `[rows, n·r]`.
fn middle(segment: &Segment, index: usize, x: Rows) -> Rows {
    let scale = scale(segment, &x);
    x.matmul(segment.pairs[index].a.clone().transpose()) * scale
}

/// The factors of the middle's columns as a row beside `x`.
fn scale(segment: &Segment, x: &Rows) -> Rows {
    let columns = TensorData::new(segment.columns.clone(), [1, segment.columns.len()]);
    Rows::from_data(columns, &x.device())
}

/// Some rows, in f32 as the adapters are.
fn taken(x: &Rows, rows: Range<usize>) -> Rows {
    let width = x.dims()[1];
    widened(x.clone().slice([rows, 0..width]))
}

/// `rows + change` on the rows of each segment, other rows as they are; and what else `change` gives, in the order of the segments.
fn amend<T>(
    bank: &RoutedBank,
    rows: Rows,
    change: impl Fn(&Segment, Range<usize>) -> (Rows, T),
) -> (Rows, Vec<T>) {
    let count = rows.dims()[0];
    let (mut parts, mut extras, mut done) = (Vec::new(), Vec::new(), 0);
    for (segment, range) in bank.touched(count) {
        if done < range.start {
            parts.push(taken(&rows, done..range.start));
        }
        done = range.end;
        let (change, extra) = change(segment, range.clone());
        parts.push(taken(&rows, range) + change);
        extras.push(extra);
    }
    if done < count {
        parts.push(taken(&rows, done..count));
    }
    (if parts.is_empty() { rows } else { like(Rows::cat(parts, 0), &rows) }, extras)
}
