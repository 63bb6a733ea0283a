//! AdamW with decoupled weight decay over plain slices, in the arithmetic of PyTorch.
//!
//! It is element by element, so the bits of one set of parameters never depend on which others step, and a fused loop over host memory
//! is several times faster here than a dozen tensor operations. Whoever owns parameters owns their [`Moments`], and with them their
//! clock.

use jobs_lm::ops::host::wide;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Numbers that one thread updates at a stretch.
const CHUNK: usize = 1 << 16;

/// Hyper-parameters of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// Learning rate before any schedule.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay: a parameter shrinks by `rate · weight_decay` of itself each step.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; a longer one is scaled down to it.
    pub clip: Option<f64>,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { lr: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: None }
    }
}

/// First and second moments of a set of parameters, and how often they stepped.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// First moment, one per parameter.
    pub first: Vec<f32>,
    /// Second moment, one per parameter.
    pub second: Vec<f32>,
    /// Steps taken; the clock of the bias corrections.
    pub steps: u64,
}

impl Moments {
    /// Moments of `parameters` numbers that have never stepped.
    pub fn new(parameters: usize) -> Self {
        Self { first: vec![0.0; parameters], second: vec![0.0; parameters], steps: 0 }
    }
}

/// A gradient held NaN or infinity; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gradient is not finite")]
pub struct NonFinite;

impl AdamW {
    /// One step of `values` at learning rate `rate`; returns the gradient's norm before clipping.
    ///
    /// # Errors
    /// When the gradient is not finite; then values and moments keep their bytes.
    ///
    /// # Panics
    /// When the four slices differ in length.
    pub fn step(
        &self,
        rate: f64,
        values: &mut [f32],
        gradient: &[f32],
        moments: &mut Moments,
    ) -> Result<f64, NonFinite> {
        let norm = norm(gradient);
        if !norm.is_finite() {
            return Err(NonFinite);
        }
        let clip = self.clip.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0));
        moments.steps += 1;
        self.update(rate, clip, values, gradient, moments);
        Ok(norm)
    }

    fn update(&self, rate: f64, clip: f64, values: &mut [f32], gradient: &[f32], moments: &mut Moments) {
        let steps = moments.steps as f64;
        let keep = (1.0 - rate * self.weight_decay) as f32;
        let step = (rate / (1.0 - self.beta1.powf(steps))) as f32;
        let root = (1.0 - self.beta2.powf(steps)).sqrt() as f32;
        let (gain1, beta2, gain2) = ((1.0 - self.beta1) as f32, self.beta2 as f32, (1.0 - self.beta2) as f32);
        let (eps, clip) = (self.eps as f32, clip as f32);
        let len = values.len();
        assert!(
            gradient.len() == len && moments.first.len() == len && moments.second.len() == len,
            "a step needs one gradient and one pair of moments per value"
        );
        let moments = moments.first.par_chunks_mut(CHUNK).zip(moments.second.par_chunks_mut(CHUNK));
        let given = values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        given.zip(moments).for_each(|((values, gradient), (first, second))| {
            let moments = first.iter_mut().zip(second);
            wide(|| {
                for ((value, &g), (m, v)) in values.iter_mut().zip(gradient).zip(moments) {
                    let g = g * clip;
                    *m += gain1 * (g - *m);
                    *v = *v * beta2 + gain2 * g * g;
                    *value = *value * keep - step * (*m / (v.sqrt() / root + eps));
                }
            });
        });
    }
}

/// Euclidean norm: a sum of sums over chunks, each of eight running ones that let the loop use wide registers. Chunks and order are
/// fixed, so the bits are too.
fn norm(values: &[f32]) -> f64 {
    let squares = |chunk: &[f32]| -> f64 {
        let (eights, rest) = chunk.as_chunks::<8>();
        let mut sums = [0.0_f64; 8];
        wide(|| {
            for eight in eights {
                for (sum, &x) in sums.iter_mut().zip(eight) {
                    *sum += f64::from(x) * f64::from(x);
                }
            }
        });
        sums.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
    };
    values.par_chunks(CHUNK).map(squares).collect::<Vec<_>>().iter().sum::<f64>().sqrt()
}
