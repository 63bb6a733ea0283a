//! Output head and cross-entropy, at the rows that something is learnt from, a chunk of rows at a time.

use std::ops::Range;

use burn::tensor::activation::softmax;
use burn::tensor::{IndexingUpdateOp, Tensor, TensorData};
use jobs_spec::memory::logits_rows;

use super::host;
use super::linear::{self, Multiply};
use super::{embedding, like, to_host, widened};
use crate::Rows;
use crate::batch::PackedBatch;

/// What one pass through the head gives.
#[derive(Debug)]
pub struct Outcome {
    /// Mean loss over each segment's supervised rows; 0 for a segment without any.
    pub losses: Vec<f32>,
    /// Gradient of `Σ weight · loss` (prompts included where they count) with respect to all rows of `hidden`.
    pub d_hidden: Rows,
    /// Gradient with respect to the head's weight, where it was asked for.
    pub d_weight: Option<Tensor<2>>,
}

/// Logits `[rows, vocab]` of normed rows, in f32.
pub fn logits(hidden: &Rows, weight: &Tensor<2>, multiply: Multiply) -> Rows {
    widened(linear::forward(hidden, weight, None, multiply))
}

/// Mean loss over each segment's supervised rows; 0 for a segment without any.
pub fn losses(hidden: &Rows, weight: &Tensor<2>, batch: &PackedBatch) -> Vec<f32> {
    let learnt = Learnt::new(batch);
    let mut row_losses = Vec::with_capacity(learnt.targets.len());
    for chunk in learnt.chunks(weight.dims()[0]) {
        let x = learnt.rows(hidden, &chunk);
        let logits = logits(&x, weight, Multiply::Together);
        row_losses.extend(cross_entropy(logits, &learnt.targets[chunk.clone()], &vec![1.0; chunk.len()]).0);
    }
    learnt.means(&row_losses)
}

/// Losses and gradients, with one weight per segment's mean loss.
pub fn train(
    hidden: &Rows,
    weight: &Tensor<2>,
    batch: &PackedBatch,
    weights: &[f32],
    want_weight: bool,
) -> Outcome {
    let learnt = Learnt::new(batch);
    let scales = learnt.scales(weights);
    let mut row_losses = Vec::with_capacity(scales.len());
    let (mut dx, mut d_weight) = (Vec::new(), None::<Tensor<2>>);
    for chunk in learnt.chunks(weight.dims()[0]) {
        let x = learnt.rows(hidden, &chunk);
        let logits = logits(&x, weight, Multiply::Together);
        let (losses, d_logits) = cross_entropy(logits, &learnt.targets[chunk.clone()], &scales[chunk]);
        row_losses.extend(losses);
        let d_logits = like(d_logits, &x);
        if want_weight {
            let part = linear::backward_weight(&x, &d_logits);
            d_weight = Some(match d_weight {
                Some(sum) => sum + part,
                None => part,
            });
        }
        dx.push(linear::backward_input(&d_logits, weight));
    }
    Outcome { losses: learnt.means(&row_losses), d_hidden: learnt.spread(dx, hidden), d_weight }
}

/// Each row's loss, and the gradient of `Σ scale · loss` with respect to the logits.
fn cross_entropy(logits: Rows, targets: &[u32], scales: &[f32]) -> (Vec<f32>, Rows) {
    let shape = logits.dims();
    let mut numbers = match host::into_numbers(logits) {
        Ok(numbers) => numbers,
        Err(logits) => return twin_cross_entropy(logits, targets, scales),
    };
    let mut losses = vec![0.0; targets.len()];
    host::wide(|| {
        let given = targets.iter().zip(scales);
        for ((row, loss), (&target, &scale)) in numbers.chunks_exact_mut(shape[1]).zip(&mut losses).zip(given)
        {
            let score = row[target as usize];
            let (top, sum) = host::exp_row(row);
            *loss = top + sum.ln() - score;
            let share = scale / sum;
            row.iter_mut().for_each(|p| *p *= share);
            row[target as usize] -= scale;
        }
    });
    (losses, host::tensor(numbers, shape))
}

/// [`cross_entropy`] by Burn's operations.
fn twin_cross_entropy(logits: Rows, targets: &[u32], scales: &[f32]) -> (Vec<f32>, Rows) {
    let device = logits.device();
    let targets = embedding::indices(targets, &device).unsqueeze_dim(1);
    let scale = Rows::from_data(TensorData::new(scales.to_vec(), [scales.len(), 1]), &device);
    let target = logits.clone().gather(1, targets.clone());
    let top = logits.clone().max_dim(1);
    let p = softmax(logits, 1);
    // The largest probability is exp(0) over the sum, so it holds the logarithm of the sum.
    let log_sum = top - p.clone().max_dim(1).log();
    let d_logits = (p * scale.clone()).scatter(1, targets, scale.neg(), IndexingUpdateOp::Add);
    (to_host(log_sum - target), d_logits)
}

/// The rows of a batch that something is learnt from, one behind the other.
struct Learnt<'a> {
    batch: &'a PackedBatch,
    targets: Vec<u32>,
}

impl<'a> Learnt<'a> {
    fn new(batch: &'a PackedBatch) -> Self {
        let targets = batch.learnt().flat_map(|rows| &batch.ids()[rows.start + 1..rows.end + 1]).copied();
        Self { batch, targets: targets.collect() }
    }

    /// Ranges of these rows whose logits fit into memory together.
    fn chunks(&self, vocab: usize) -> impl Iterator<Item = Range<usize>> {
        let (rows, all) = (logits_rows(vocab), self.targets.len());
        (0..all).step_by(rows).map(move |start| start..(start + rows).min(all))
    }

    /// The rows of a chunk.
    fn rows(&self, hidden: &Rows, chunk: &Range<usize>) -> Rows {
        let mut before = 0;
        let mut parts = Vec::new();
        for rows in self.batch.learnt() {
            let from = chunk.start.clamp(before, before + rows.len()) - before;
            let to = chunk.end.clamp(before, before + rows.len()) - before;
            if from < to {
                parts.push(hidden.clone().slice(rows.start + from..rows.start + to));
            }
            before += rows.len();
        }
        Tensor::cat(parts, 0)
    }

    /// Weight of each row in the sum: its segment's weight over the count of the completion, or the prompt's share over that of the prompt.
    fn scales(&self, weights: &[f32]) -> Vec<f32> {
        let mut scales = Vec::with_capacity(self.targets.len());
        for ((prompt, completion), weight) in self.parts().zip(weights) {
            let prompt_weight = self.batch.prompt_weight() * weight / prompt as f32;
            scales.extend(std::iter::repeat_n(prompt_weight, prompt));
            scales.extend(std::iter::repeat_n(weight / completion as f32, completion));
        }
        scales
    }

    fn means(&self, row_losses: &[f32]) -> Vec<f32> {
        let mut rest = row_losses.iter();
        let mean = |(prompt, completion): (usize, usize)| {
            let losses = rest.by_ref().take(prompt + completion).skip(prompt);
            (losses.map(|loss| f64::from(*loss)).sum::<f64>() / completion.max(1) as f64) as f32
        };
        self.parts().map(mean).collect()
    }

    /// How many of a segment's rows are its prompt's and how many its completion's.
    fn parts(&self) -> impl Iterator<Item = (usize, usize)> {
        let rows = self.batch.learnt().zip(self.batch.supervised());
        rows.map(|(learnt, completion)| (learnt.len() - completion.len(), completion.len()))
    }

    /// Gradients of these rows at their places among all rows.
    fn spread(&self, dx: Vec<Rows>, hidden: &Rows) -> Rows {
        let rows = self.batch.learnt().filter(|rows| !rows.is_empty());
        if !host::here(hidden) {
            return twin_spread(rows, dx, hidden);
        }
        let [count, width] = hidden.dims();
        let mut all = vec![0.0; count * width];
        let mut places = rows.flatten().map(|row| row * width);
        for dx in dx {
            host::read(&dx, |dx| {
                for (row, place) in dx.chunks_exact(width).zip(&mut places) {
                    all[place..place + width].copy_from_slice(row);
                }
            });
        }
        host::tensor(all, [count, width])
    }
}

/// [`Learnt::spread`] by Burn's operations.
fn twin_spread(rows: impl Iterator<Item = Range<usize>>, dx: Vec<Rows>, hidden: &Rows) -> Rows {
    let mut all = hidden.zeros_like();
    if dx.is_empty() {
        return all;
    }
    let dx = Tensor::cat(dx, 0);
    let mut before = 0;
    for rows in rows {
        all = all.slice_assign(rows.clone(), dx.clone().slice(before..before + rows.len()));
        before += rows.len();
    }
    all
}
