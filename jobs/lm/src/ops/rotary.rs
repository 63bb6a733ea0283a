//! Rotary positions: each pair `(x[i], x[i + d/2])` of a head turns by an angle that grows with the row's position in its segment.

use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};
use jobs_spec::model::{Rope, RopeScaling};

use super::host::{self, Numbers};
use super::{like, widened};

/// Cosines and sines of every row's angles, each `[rows, 1, head_dim / 2]`.
#[derive(Clone, Debug)]
pub struct Rotation {
    cos: Tensor<3>,
    sin: Tensor<3>,
}

impl Rotation {
    /// The rotation of rows at these positions.
    ///
    /// Angles are products of f32 numbers, as in the reference implementation: at large positions their rounding is visible.
    pub fn new(rope: &Rope, head_dim: usize, positions: &[usize], device: &Device) -> Self {
        let frequencies = frequencies(rope, head_dim);
        let longest = positions.iter().max().map_or(0, |last| last + 1);
        let angles = || (0..longest).flat_map(|at| frequencies.iter().map(move |f| f64::from(at as f32 * f)));
        let (cos, sin): (Vec<f32>, Vec<f32>) =
            angles().map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        let half = frequencies.len();
        let rows = |table: Vec<f32>| {
            let values: Vec<f32> =
                positions.iter().flat_map(|at| table[at * half..][..half].iter().copied()).collect();
            Tensor::from_data(TensorData::new(values, [positions.len(), 1, half]), device)
        };
        Self { cos: rows(cos), sin: rows(sin) }
    }

    /// Turns `[rows, heads, head_dim]` forward.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        turn(x, &self.cos, &self.sin, 1.0)
    }

    /// The gradient of [`Self::forward`]: the same turn backward.
    pub fn backward(&self, dy: Tensor<3>) -> Tensor<3> {
        turn(dy, &self.cos, &self.sin, -1.0)
    }
}

/// Turns every pair by its angle; `direction` is 1 or −1.
fn turn(x: Tensor<3>, cos: &Tensor<3>, sin: &Tensor<3>, direction: f32) -> Tensor<3> {
    let [rows, heads, width] = x.dims();
    let (Some(cosines), Some(sines)) = (Numbers::of(cos), Numbers::of(sin)) else {
        return twin_turn(x, cos, sin, direction);
    };
    let mut numbers = match host::into_numbers(x) {
        Ok(numbers) => numbers,
        Err(x) => return twin_turn(x, cos, sin, direction),
    };
    let half = width / 2;
    host::wide(|| {
        let angles = cosines.chunks_exact(half).zip(sines.chunks_exact(half));
        for (row, (cos, sin)) in numbers.chunks_exact_mut(heads * width).zip(angles) {
            for head in row.chunks_exact_mut(width) {
                let (first, second) = head.split_at_mut(half);
                for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    let sin = sin * direction;
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    });
    host::tensor(numbers, [rows, heads, width])
}

/// [`turn`] by Burn's operations.
fn twin_turn(x: Tensor<3>, cos: &Tensor<3>, sin: &Tensor<3>, direction: f32) -> Tensor<3> {
    let [rows, heads, width] = x.dims();
    let sin = sin.clone() * direction;
    let wide = widened(x.clone());
    let a = wide.clone().slice([0..rows, 0..heads, 0..width / 2]);
    let b = wide.slice([0..rows, 0..heads, width / 2..width]);
    let first = a.clone() * cos.clone() - b.clone() * sin.clone();
    let second = b * cos.clone() + a * sin;
    like(Tensor::cat(vec![first, second], 2), &x)
}

/// Angle per position of each pair.
fn frequencies(rope: &Rope, head_dim: usize) -> Vec<f32> {
    (0..head_dim / 2)
        .map(|pair| scaled(rope, rope.theta.powf(-2.0 * pair as f64 / head_dim as f64)) as f32)
        .collect()
}

fn scaled(rope: &Rope, frequency: f64) -> f64 {
    match rope.scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 { factor, low, high, original } => {
            let wavelength = TAU / frequency;
            let periods = original as f64 / wavelength;
            if periods < low {
                frequency / factor
            } else if periods > high {
                frequency
            } else {
                let kept = (periods - low) / (high - low);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
    }
}
