//! Named weights, how they come to be, and the gradients that go by the same names.

use std::collections::BTreeMap;

use burn::tensor::{Device, Distribution, FloatDType, Tensor, TensorData};
use jobs_spec::model::Precision;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::Rows;
use crate::ops::{host, to_host, widened};

/// A weight and its name in the checkpoint.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name as in Hugging Face checkpoints.
    pub name: String,
    /// Shape as in the checkpoint: one or two dimensions.
    pub shape: Vec<usize>,
    /// The values; a one-dimensional weight of `n` numbers is a row `[1, n]`.
    pub value: Rows,
}

impl Parameter {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the values in row-major order.
    pub fn to_vec(&self) -> Vec<f32> {
        to_host(self.value.clone())
    }

    /// Replaces the values, given in row-major order.
    ///
    /// # Panics
    /// When `values` has another length than [`Self::len`].
    pub fn set(&mut self, values: Vec<f32>) {
        let shape = self.value.dims();
        self.value = Tensor::from_data(TensorData::new(values, shape), &self.value.device());
    }
}

/// What a freshly initialised weight holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Normal numbers of a small deviation: the rows of a table.
    Table,
    /// Normal numbers with the deviation that keeps a row's size: a linear layer `[output, input]`.
    Linear,
    Zeros,
    Ones,
}

/// The values of a weight of this name, shape and start.
pub(crate) type Values<'a, E> = dyn FnMut(&str, &[usize], Start) -> Result<Content, E> + 'a;

/// Where the values of a weight come from.
pub(crate) enum Content {
    /// Given in row-major order.
    Values(Vec<f32>),
    /// Normal numbers of this deviation, drawn by the device's own generator.
    Drawn(f64),
}

/// Turns names and shapes into weights, with values from a checkpoint or a generator.
pub(crate) struct Maker<'a, E> {
    pub(crate) device: &'a Device,
    pub(crate) precision: Precision,
    pub(crate) values: &'a mut Values<'a, E>,
}

impl<E> Maker<'_, E> {
    /// A weight of one or two dimensions.
    pub(crate) fn make(&mut self, name: String, shape: Vec<usize>, start: Start) -> Result<Parameter, E> {
        let content = (self.values)(&name, &shape, start)?;
        let matrix = match shape.as_slice() {
            [rows, columns] => [*rows, *columns],
            vector => [1, vector.iter().product()],
        };
        let value: Rows = match content {
            Content::Values(values) => Tensor::from_data(TensorData::new(values, matrix), self.device),
            Content::Drawn(deviation) => {
                Tensor::random(matrix, Distribution::Normal(0.0, deviation), self.device)
            }
        };
        Ok(Parameter { name, shape, value: cast(value, self.precision) })
    }
}

/// Rows in a precision.
pub(crate) fn cast(rows: Rows, precision: Precision) -> Rows {
    match precision {
        Precision::F32 => widened(rows),
        Precision::Bf16 => rows.cast(FloatDType::BF16),
    }
}

/// Standard deviation of fresh tables.
const TABLE_DEVIATION: f64 = 0.02;

impl Start {
    /// Deviation of the normal numbers of a weight of this shape, if it has any.
    pub(crate) fn deviation(self, shape: &[usize]) -> Option<f64> {
        match self {
            Self::Table => Some(TABLE_DEVIATION),
            // Fan-in by He et al. (2015) without the gain of a rectifier.
            Self::Linear => Some(1.0 / (shape.last().copied().unwrap_or(1) as f64).sqrt()),
            Self::Zeros | Self::Ones => None,
        }
    }

    /// The values of a weight that has one number throughout.
    pub(crate) fn constant(self, count: usize) -> Vec<f32> {
        vec![if self == Self::Ones { 1.0 } else { 0.0 }; count]
    }
}

/// Values of fresh weights; they depend on the seed and the order of calls.
pub(crate) struct Initialiser(ChaCha12Rng);

impl Initialiser {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    pub(crate) fn values(&mut self, shape: &[usize], start: Start) -> Vec<f32> {
        let count = shape.iter().product();
        match start.deviation(shape) {
            Some(deviation) => (0..count).map(|_| (deviation * self.normal()) as f32).collect(),
            None => start.constant(count),
        }
    }

    /// A standard normal number by the method of Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.0.random::<f64>(), self.0.random::<f64>());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

/// Gradients of weights by name, summed over passes until taken.
#[derive(Debug, Default)]
pub struct WeightGrads {
    by_name: BTreeMap<String, Rows>,
}

impl WeightGrads {
    /// No gradients yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to the gradient of a weight; `gradient` has the shape of [`Parameter::value`].
    pub fn add(&mut self, name: &str, gradient: Rows) {
        let sum = match self.by_name.remove(name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.by_name.insert(name.to_owned(), sum);
    }

    /// Adds the gradient of a weight, in row-major order, to a sum; nothing where no pass reached it.
    ///
    /// # Panics
    /// When the sum has another length than the weight.
    pub fn add_to(&self, name: &str, sum: &mut [f32]) {
        let Some(gradient) = self.by_name.get(name) else { return };
        host::read(gradient, |gradient| {
            assert_eq!(gradient.len(), sum.len(), "{name}");
            host::wide(|| sum.iter_mut().zip(gradient).for_each(|(sum, x)| *sum += x));
        });
    }

    /// Takes the gradient of a weight in row-major order; `None` where no pass reached it.
    pub fn take(&mut self, name: &str) -> Option<Vec<f32>> {
        self.by_name.remove(name).map(to_host)
    }

    /// Names and gradients, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Rows)> {
        self.by_name.iter().map(|(name, gradient)| (name.as_str(), gradient))
    }
}
