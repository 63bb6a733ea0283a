//! One adapter, held on the host as plain numbers.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::AdapterShape;

/// The numbers of one adapter, laid out as [`AdapterShape`] says.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    shape: Arc<AdapterShape>,
    values: Vec<f32>,
}

impl Adapter {
    /// A fresh adapter: `A` uniform in ±1/√d_in, drawn site after site from one generator; `B` zero, so it changes nothing yet.
    pub fn init(shape: &Arc<AdapterShape>, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut adapter = Self::zeros(shape);
        for (index, site) in shape.sites().iter().enumerate() {
            let bound = 1.0 / (site.d_in as f32).sqrt();
            let (a, _) = shape.ranges(index);
            adapter.values[a].fill_with(|| rng.random_range(-bound..bound));
        }
        adapter
    }

    /// An adapter of zeros.
    pub fn zeros(shape: &Arc<AdapterShape>) -> Self {
        Self { shape: Arc::clone(shape), values: vec![0.0; shape.parameters()] }
    }

    /// An adapter from its numbers; `None` when their count is not that of the shape.
    pub fn from_values(shape: &Arc<AdapterShape>, values: Vec<f32>) -> Option<Self> {
        (values.len() == shape.parameters()).then(|| Self { shape: Arc::clone(shape), values })
    }

    /// Its shape.
    pub fn shape(&self) -> &Arc<AdapterShape> {
        &self.shape
    }

    /// All its numbers.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All its numbers, to change.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// `A` of the site at `index` of the shape's sites: `[r, d_in]`, row-major.
    ///
    /// # Panics
    /// When the shape has no such site.
    pub fn a(&self, index: usize) -> &[f32] {
        &self.values[self.shape.ranges(index).0]
    }

    /// `B` of the site at `index` of the shape's sites: `[d_out, r]`, row-major.
    ///
    /// # Panics
    /// When the shape has no such site.
    pub fn b(&self, index: usize) -> &[f32] {
        &self.values[self.shape.ranges(index).1]
    }
}
