//! Packed batches: segments of token ids one behind the other, without padding.

use std::ops::Range;

/// Several sequences in one pass. Attention never crosses a segment; positions restart at 0 in each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PackedBatch {
    ids: Vec<u32>,
    segments: Vec<Range<usize>>,
    /// Per segment: the rows (absolute) whose next token is supervised; the target is the id of the next row.
    supervised: Vec<Range<usize>>,
    /// What the mean loss over a segment's prompt counts beside that over its completion.
    prompt_weight: f32,
}

impl PackedBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch whose segments also learn their prompts: what is minimised is the mean loss over a completion plus `weight` times
    /// that over its prompt. The losses that a pass reports stay those of the completions.
    pub fn learning_prompts(weight: f32) -> Self {
        Self { prompt_weight: weight, ..Self::default() }
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

    /// What the mean loss over a prompt counts.
    pub fn prompt_weight(&self) -> f32 {
        self.prompt_weight
    }

    /// The rows of each segment that anything is learnt from: those of [`Self::supervised`], with the prompt's before them where it counts.
    pub fn learnt(&self) -> impl Iterator<Item = Range<usize>> {
        let prompts = self.prompt_weight > 0.0;
        let rows = self.segments.iter().zip(&self.supervised);
        rows.map(move |(segment, rows)| if prompts { segment.start..rows.end } else { rows.clone() })
    }

    /// Number of rows (real tokens).
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}
