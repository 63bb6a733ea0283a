//! One row per segment: pooling of hidden rows.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::Rows;
use crate::ops::widened;

/// The mean of each segment's rows, `[segments, features]`; zeros for an empty segment.
pub fn mean(rows: &Rows, segments: &[Range<usize>]) -> Rows {
    let one = |segment: &Range<usize>| match segment.is_empty() {
        true => Tensor::zeros([1, rows.dims()[1]], &rows.device()),
        false => widened(rows.clone().slice(segment.clone())).mean_dim(0),
    };
    Tensor::cat(segments.iter().map(one).collect(), 0)
}

/// Each segment's first row, `[segments, features]`; no segment may be empty.
pub fn first(rows: &Rows, segments: &[Range<usize>]) -> Rows {
    let firsts =
        segments.iter().map(|segment| rows.clone().slice(segment.start..segment.start + 1)).collect();
    Tensor::cat(firsts, 0)
}

/// Each segment's last row, `[segments, features]`; no segment may be empty.
pub fn last(rows: &Rows, segments: &[Range<usize>]) -> Rows {
    let lasts = segments.iter().map(|segment| rows.clone().slice(segment.end - 1..segment.end)).collect();
    Tensor::cat(lasts, 0)
}

/// Each row divided by its Euclidean length; a zero row stays zero.
pub fn unit(rows: Rows) -> Rows {
    let rows = widened(rows);
    let length = rows.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
    rows / length
}
