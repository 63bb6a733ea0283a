//! Packed batches: segments of token ids one behind the other, without padding.

use std::ops::Range;

/// Several sequences in one pass. Attention never crosses a segment; positions restart at 0 in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBatch {
    ids: Vec<u32>,
    segments: Vec<Range<usize>>,
    /// Per segment: the rows (absolute) whose next token is supervised; the target is the id of the next row.
    supervised: Vec<Range<usize>>,
}

impl PackedBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a sequence `prompt + completion`; every completion token is supervised, i.e. predicted from the row before it.
    ///
    /// The last completion token is a target only, but it stays a row of the segment, as in the reference implementation.
    pub fn push(&mut self, prompt: &[u32], completion: &[u32]) {
        let start = self.ids.len();
        self.ids.extend_from_slice(prompt);
        let first = self.ids.len();
        self.ids.extend_from_slice(completion);
        self.segments.push(start..self.ids.len());
        let from = first.saturating_sub(1).max(start);
        self.supervised.push(from..(self.ids.len().saturating_sub(1)).max(from));
    }

    /// All token ids, one per row.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The rows of each segment.
    pub fn segments(&self) -> &[Range<usize>] {
        &self.segments
    }

    /// The rows of each segment that predict a supervised token; row `i` predicts `ids()[i + 1]`.
    pub fn supervised(&self) -> &[Range<usize>] {
        &self.supervised
    }

    /// Number of rows (real tokens).
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}
