//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, TensorData};
use jobs_lm::Rows;
use jobs_lm::adapt::Site;
use jobs_lora::{Adapter, AdapterShape, SiteShape};
use jobs_spec::model::Projection;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Gate of the first layer.
pub(crate) const GATE: Site = Site { layer: 0, projection: Projection::Gate };
/// Down of the first layer.
pub(crate) const DOWN: Site = Site { layer: 0, projection: Projection::Down };

/// Rank 4 at gate (12 to 20) and down (20 to 12).
pub(crate) fn shape() -> Arc<AdapterShape> {
    let sites =
        vec![SiteShape { site: GATE, d_in: 12, d_out: 20 }, SiteShape { site: DOWN, d_in: 20, d_out: 12 }];
    Arc::new(AdapterShape::new(4, 8.0, sites).unwrap())
}

/// Numbers in ±1.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// An adapter whose B is not zero.
pub(crate) fn adapter(seed: u64) -> Adapter {
    let shape = shape();
    Adapter::from_values(&shape, numbers(seed, shape.parameters())).unwrap()
}

/// Random activations.
pub(crate) fn rows(seed: u64, dims: [usize; 2]) -> Rows {
    Rows::from_data(TensorData::new(numbers(seed, dims[0] * dims[1]), dims), &Device::flex())
}

/// The numbers of a matrix.
pub(crate) fn values(rows: &Rows) -> Vec<f32> {
    rows.to_data().as_slice::<f32>().unwrap().to_vec()
}

/// The largest difference of two lists.
pub(crate) fn distance(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The folder of reference models, beside the checkout; `None`, with a printed reason, where it is absent.
pub(crate) fn reference() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/reference"));
    if folder.is_dir() {
        return Some(folder);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} not found", folder.display());
    println!("skipped: {} not found", folder.display());
    None
}
