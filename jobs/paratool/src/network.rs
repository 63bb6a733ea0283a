//! The gate's network: four views of a context and a tool vector in, one score out.
//!
//! `x = [c, d, c⊙d, |c−d|]` → linear → GELU (erf) → linear → GELU → linear, without norm or dropout. Forward and backward are explicit
//! over plain tensors, so that the passes repeat to the bit and no graph is kept.

use burn::tensor::{Device, TensorData};
use jobs_lm::Rows;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Failure;
use crate::embed::host;

/// A fully connected network with two hidden layers of one width and one output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Network {
    dimension: usize,
    hidden: usize,
    values: Vec<f32>,
}

/// What [`Loaded::forward`] keeps for [`Loaded::backward`].
#[derive(Debug)]
pub(crate) struct Saved {
    x: Rows,
    before: [Rows; 2],
    after: [Rows; 2],
}

/// A [`Network`] on a device.
#[derive(Debug)]
pub(crate) struct Loaded {
    dimension: usize,
    linears: [Linear; 3],
    device: Device,
}

/// A weight matrix `[out, in]` and a bias `[1, out]` on a device.
#[derive(Debug)]
struct Linear {
    weight: Rows,
    bias: Rows,
}

impl Linear {
    fn forward(&self, x: &Rows) -> Rows {
        x.clone().matmul(self.weight.clone().transpose()) + self.bias.clone()
    }
}

impl Network {
    /// A fresh network for vectors of a dimension: everything uniform in ±1/√(inputs of the layer), drawn from the seed.
    pub(crate) fn new(dimension: usize, hidden: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut values = Vec::with_capacity(Self::parameters(dimension, hidden));
        for [output, input] in Self::layers(dimension, hidden) {
            let bound = 1.0 / (input as f32).sqrt();
            values.extend((0..output * (input + 1)).map(|_| rng.random_range(-bound..bound)));
        }
        Self { dimension, hidden, values }
    }

    /// A network from its numbers; `None` when their count is wrong.
    pub(crate) fn from_values(dimension: usize, hidden: usize, values: Vec<f32>) -> Option<Self> {
        (values.len() == Self::parameters(dimension, hidden)).then_some(Self { dimension, hidden, values })
    }

    /// How many numbers a network has.
    pub(crate) fn parameters(dimension: usize, hidden: usize) -> usize {
        Self::layers(dimension, hidden).iter().map(|[output, input]| output * (input + 1)).sum()
    }

    /// Outputs and inputs of each layer.
    pub(crate) fn layers(dimension: usize, hidden: usize) -> [[usize; 2]; 3] {
        [[hidden, 4 * dimension], [hidden, hidden], [1, hidden]]
    }

    /// Length of the vectors that it takes.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Width of the hidden layers.
    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }

    /// All numbers: layer after layer, weight `[out, in]` row-major, then bias.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// All numbers, to change.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The network on a device, ready to multiply; later changes of the numbers do not reach it.
    pub(crate) fn on(&self, device: &Device) -> Loaded {
        let mut start = 0;
        let linears = Self::layers(self.dimension, self.hidden).map(|[output, input]| {
            let mut take = |rows: usize, columns: usize| {
                let values = self.values[start..start + rows * columns].to_vec();
                start += rows * columns;
                Rows::from_data(TensorData::new(values, [rows, columns]), device)
            };
            Linear { weight: take(output, input), bias: take(1, output) }
        });
        Loaded { dimension: self.dimension, linears, device: device.clone() }
    }
}

impl Loaded {
    /// Scores of some (context, tool) pairs, each of two vectors.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn forward(&self, pairs: &[(&[f32], &[f32])]) -> Result<(Vec<f32>, Saved), Failure> {
        let [first, second, last] = &self.linears;
        let x = self.views(pairs);
        let before = first.forward(&x);
        let after = gelu(&before);
        let before_second = second.forward(&after);
        let after_second = gelu(&before_second);
        let scores = host(last.forward(&after_second))?;
        Ok((scores, Saved { x, before: [before, before_second], after: [after, after_second] }))
    }

    /// Gradients of all numbers, and of each pair's tool vector (`[pairs, dimension]`), from those of the scores.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn backward(
        &self,
        pairs: &[(&[f32], &[f32])],
        saved: Saved,
        d_scores: &[f32],
    ) -> Result<(Vec<f32>, Vec<f32>), Failure> {
        let [first, second, last] = &self.linears;
        let (mut gradient, mut layers) = (Vec::new(), Vec::new());
        let mut dy = Rows::from_data(TensorData::new(d_scores.to_vec(), [d_scores.len(), 1]), &self.device);
        let Saved { x, before: [before, before_second], after: [after, after_second] } = saved;
        layers.push((dy.clone(), after_second));
        dy = dy.matmul(last.weight.clone()) * gelu_slope(&before_second);
        layers.push((dy.clone(), after));
        dy = dy.matmul(second.weight.clone()) * gelu_slope(&before);
        layers.push((dy.clone(), x));
        for (dy, input) in layers.into_iter().rev() {
            gradient.extend(host(dy.clone().transpose().matmul(input))?);
            gradient.extend(host(dy.sum_dim(0))?);
        }
        Ok((gradient, self.tool_gradients(pairs, &host(dy.matmul(first.weight.clone()))?)))
    }

    /// The derivative of the four views by the tool vector.
    fn tool_gradients(&self, pairs: &[(&[f32], &[f32])], dx: &[f32]) -> Vec<f32> {
        let d = self.dimension;
        let mut gradients = Vec::with_capacity(pairs.len() * d);
        for ((context, tool), dx) in pairs.iter().zip(dx.chunks(4 * d)) {
            let views = dx[d..2 * d].iter().zip(&dx[2 * d..3 * d]).zip(&dx[3 * d..]);
            gradients.extend(context.iter().zip(*tool).zip(views).map(
                |((c, t), ((own, product), distance))| {
                    let sign = if t == c { 0.0 } else { (t - c).signum() };
                    own + c * product + sign * distance
                },
            ));
        }
        gradients
    }

    fn views(&self, pairs: &[(&[f32], &[f32])]) -> Rows {
        let width = 4 * self.dimension;
        let mut x = Vec::with_capacity(pairs.len() * width);
        for (context, tool) in pairs {
            x.extend_from_slice(context);
            x.extend_from_slice(tool);
            x.extend(context.iter().zip(*tool).map(|(c, d)| c * d));
            x.extend(context.iter().zip(*tool).map(|(c, d)| (c - d).abs()));
        }
        Rows::from_data(TensorData::new(x, [pairs.len(), width]), &self.device)
    }
}

/// The standard normal distribution function.
fn normal(x: &Rows) -> Rows {
    (x.clone().mul_scalar(std::f32::consts::FRAC_1_SQRT_2)).erf().add_scalar(1.0).mul_scalar(0.5)
}

fn gelu(x: &Rows) -> Rows {
    x.clone() * normal(x)
}

fn gelu_slope(x: &Rows) -> Rows {
    let density = x.clone().square().mul_scalar(-0.5).exp().mul_scalar(0.398_942_3);
    normal(x) + x.clone() * density
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "helpers of tests")]
mod tests {
    use super::*;

    fn vectors(seed: u64, count: usize, dimension: usize) -> Vec<Vec<f32>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| (0..dimension).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
    }

    #[test]
    fn it_has_the_published_number_of_parameters() {
        assert_eq!(Network::parameters(4096, 512), 8_652_289);
        assert_eq!(Network::parameters(3584, 512), 7_603_713);
        assert_eq!(Network::parameters(5120, 512), 10_749_441);
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let device = Device::flex();
        let mut network = Network::new(3, 5, 1);
        let (contexts, mut tools) = (vectors(2, 4, 3), vectors(3, 4, 3));
        let weights = [0.5, -1.0, 2.0, 0.25];
        let objective = |network: &Network, tools: &[Vec<f32>]| -> f64 {
            let pairs: Vec<_> =
                contexts.iter().zip(tools).map(|(c, t)| (c.as_slice(), t.as_slice())).collect();
            let scores = network.on(&device).forward(&pairs).unwrap().0;
            scores.iter().zip(weights).map(|(s, w): (_, f32)| f64::from(*s) * f64::from(w)).sum()
        };
        let pairs: Vec<_> = contexts.iter().zip(&tools).map(|(c, t)| (c.as_slice(), t.as_slice())).collect();
        let (_, saved) = network.on(&device).forward(&pairs).unwrap();
        let (gradient, tool_gradients) = network.on(&device).backward(&pairs, saved, &weights).unwrap();
        let step = 1e-2;
        for (i, gradient) in gradient.iter().enumerate() {
            let mut at = |change: f32| {
                network.values_mut()[i] += change;
                objective(&network, &tools)
            };
            let difference = (at(step) - at(-2.0 * step)) / (2.0 * f64::from(step));
            network.values_mut()[i] += step;
            assert!(
                (difference - f64::from(*gradient)).abs() < 2e-3,
                "value {i}: {difference} and {gradient}"
            );
        }
        for (i, gradient) in tool_gradients.iter().enumerate() {
            let (row, column) = (i / 3, i % 3);
            let mut at = |change: f32| {
                tools[row][column] += change;
                objective(&network, &tools)
            };
            let difference = (at(step) - at(-2.0 * step)) / (2.0 * f64::from(step));
            tools[row][column] += step;
            assert!(
                (difference - f64::from(*gradient)).abs() < 2e-3,
                "tool {i}: {difference} and {gradient}"
            );
        }
    }

    #[test]
    fn scores_loss_and_gradients_are_those_of_pytorch() {
        // Printed by PyTorch 2.15 for `Sequential(Linear(8, 3), GELU(), Linear(3, 3), GELU(), Linear(3, 1))` with parameters sin(i),
        // λ = 0.6 and the second tool called.
        let values = (0..43).map(|i| f64::from(i).sin() as f32).collect();
        let network = Network::from_values(2, 3, values).unwrap().on(&Device::flex());
        let tools = [[2.0, 0.25], [-0.75, 1.5], [0.5, 1.0]];
        let pairs = tools.iter().map(|tool| ([0.5, -1.0].as_slice(), tool.as_slice())).collect::<Vec<_>>();
        let (scores, saved) = network.forward(&pairs).unwrap();
        let at = crate::objective::objective(&scores, 1, 0.6);
        let d_scores = at.gradient.iter().map(|g| *g as f32).collect::<Vec<_>>();
        let (gradient, tool_gradients) = network.backward(&pairs, saved, &d_scores).unwrap();
        let near = |got: &[f32], expected: &[f32]| {
            let far = got.iter().zip(expected).any(|(a, b)| (a - b).abs() > 1e-5);
            assert!(!far && got.len() == expected.len(), "{got:?} and {expected:?}");
        };
        near(&scores, &[-1.248_002_4, -1.201_227, -1.218_674_1]);
        near(
            &at.weights.iter().map(|w| *w as f32).collect::<Vec<_>>(),
            &[0.324_923_34, 0.340_482_83, 0.334_593_92],
        );
        near(&[at.loss as f32, at.entropy as f32], &[0.418_334_54, 1.098_426_8]);
        near(&gradient[..4], &[-0.091_881_655, 0.183_763_31, 0.170_806_94, -0.284_737_68]);
        near(
            &gradient[24..30],
            &[-0.183_763_31, -0.068_122_83, -0.011_251_378, -0.113_196_164, -0.391_570_42, 0.020_989_953],
        );
        near(
            &gradient[36..],
            &[-0.220_843_14, 0.018_626_189, 0.017_047_11, -0.081_974_044, -0.048_822_117, -0.596_195_8, 0.0],
        );
        let expected =
            [-0.012_672_147, -0.046_765_25, -0.098_082_53, -0.350_433_5, 0.043_657_042, 0.144_014_98];
        near(&tool_gradients, &expected);
    }
}
