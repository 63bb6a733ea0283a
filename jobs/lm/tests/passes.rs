//! Training passes of whole small decoders: independence of neighbours, gradients, and where a backward pass ends.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use jobs_lm::Rows;
use jobs_lm::adapt::{Adapters, NoAdapters, Site};
use jobs_lm::batch::PackedBatch;
use jobs_lm::decoder::Decoder;
use jobs_lm::device::{self, Device};
use jobs_lm::ops::linear::{Way, product};
use jobs_lm::params::WeightGrads;
use jobs_spec::memory::Recompute;
use jobs_spec::model::{Family, ModelConfig, Projection, Rope, RopeScaling};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

const VOCAB: u32 = 300;

fn cpu() -> Device {
    device::parse("cpu").unwrap()
}

fn config(family: Family, intermediate_size: usize) -> ModelConfig {
    ModelConfig {
        family,
        vocab_size: VOCAB as usize,
        hidden_size: 24,
        intermediate_size,
        layers: 2,
        heads: 6,
        kv_heads: 2,
        head_dim: 8,
        rms_norm_eps: 1e-6,
        rope: Rope { theta: 1e4, scaling: RopeScaling::None },
        max_positions: 512,
        tie_word_embeddings: family != Family::Llama,
        eos_ids: vec![],
        bos_id: None,
        pad_id: None,
    }
}

/// A decoder whose every weight matters: none is so small that its part of a gradient drowns, or so large that its loss is no straight line
/// over the step of a difference.
fn decoder(family: Family, intermediate_size: usize) -> Decoder {
    let mut decoder = Decoder::init(config(family, intermediate_size), 1, &cpu());
    let mut random = ChaCha12Rng::seed_from_u64(2);
    for weight in decoder.parameters_mut() {
        let start = weight.to_vec();
        let deviation = (start.iter().map(|value| value * value).sum::<f32>() / start.len() as f32).sqrt();
        let scale = if weight.shape.len() == 2 { 0.16 / deviation } else { 1.0 };
        let values = start.iter().map(|value| value * scale + random.random_range(-0.1..0.1)).collect();
        weight.set(values);
    }
    decoder
}

fn random_rows(random: &mut ChaCha12Rng, shape: [usize; 2], size: f32) -> Tensor<2> {
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| random.random_range(-size..size)).collect();
    Tensor::from_data(TensorData::new(values, shape), &cpu())
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Full-size additions to some projections of all rows, which also note what they are handed.
#[derive(Clone, Default)]
struct Deltas {
    weights: BTreeMap<Site, Tensor<2>>,
    gradients: BTreeMap<Site, Tensor<2>>,
    handed: BTreeMap<Site, (Rows, Rows)>,
}

impl Deltas {
    fn new(config: &ModelConfig, sites: impl IntoIterator<Item = Site>) -> Self {
        let mut random = ChaCha12Rng::seed_from_u64(5);
        let mut weight = |site: Site| {
            let (input, output) = config.dims(site.projection);
            random_rows(&mut random, [input, output], 0.1)
        };
        Self { weights: sites.into_iter().map(|site| (site, weight(site))).collect(), ..Self::default() }
    }
}

impl Adapters for Deltas {
    fn adapts(&self, site: Site) -> bool {
        self.weights.contains_key(&site)
    }

    fn forward(&self, site: Site, x: &Rows, base: Rows) -> Rows {
        base + product(x, &self.weights[&site], Way::Backward)
    }

    fn backward(&mut self, site: Site, x: &Rows, dy: &Rows, dx: Rows) -> Rows {
        self.gradients.insert(site, x.clone().transpose().matmul(dy.clone()));
        self.handed.insert(site, (x.clone(), dy.clone()));
        dx + product(dy, &self.weights[&site], Way::Forward)
    }
}

fn all_sites(config: &ModelConfig) -> impl Iterator<Item = Site> {
    (0..config.layers).flat_map(|layer| Projection::ALL.map(|projection| Site { layer, projection }))
}

/// A segment of `prompt + completion` tokens that depend on `seed` only.
fn push(batch: &mut PackedBatch, seed: u64, prompt: usize, completion: usize) {
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let mut ids = |count| (0..count).map(|_| random.random_range(0..VOCAB)).collect::<Vec<u32>>();
    batch.push(&ids(prompt), &ids(completion));
}

/// The bits of a segment's loss, and of the rows that the adapters are handed, in a pass over segments of these lengths.
fn bits(decoder: &Decoder, lengths: &[(u64, usize, usize)], at: usize) -> Vec<u32> {
    let mut batch = PackedBatch::new();
    for (seed, prompt, completion) in lengths {
        push(&mut batch, *seed, *prompt, *completion);
    }
    let mut deltas = Deltas::new(decoder.config(), all_sites(decoder.config()));
    let losses = decoder.train_pass(&batch, &mut deltas, None);
    assert_eq!(losses, decoder.losses(&batch, &deltas));
    let rows = batch.segments()[at].clone();
    let mut bits = vec![losses[at].to_bits()];
    for (x, dy) in deltas.handed.into_values() {
        for side in [x, dy] {
            bits.extend(values(side.slice(rows.clone())).into_iter().map(f32::to_bits));
        }
    }
    bits
}

fn lengths() -> impl Strategy<Value = Vec<(u64, usize, usize)>> {
    prop::collection::vec((any::<u64>(), 1..40_usize, 1..20_usize), 15)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// A segment gives the same bits alone and beside 3 or 15 others, at the first, a middle and the last place.
    #[test]
    fn neighbours_change_no_bit(
        family in prop::sample::select(vec![Family::Qwen2, Family::Qwen3, Family::Llama]),
        wide in any::<bool>(),
        one in (any::<u64>(), 1..30_usize, 1..12_usize),
        others in lengths(),
    ) {
        let decoder = decoder(family, if wide { 1100 } else { 40 });
        let alone = bits(&decoder, &[one], 0);
        for count in [3, 15] {
            for at in [0, count / 2, count] {
                let mut segments = others[..count].to_vec();
                segments.insert(at, one);
                prop_assert_eq!(&bits(&decoder, &segments, at), &alone, "{} others, place {}", count, at);
            }
        }
    }
}

#[test]
fn neighbours_change_no_bit_of_the_shortest_segments() {
    let decoder = decoder(Family::Qwen2, 40);
    for (prompt, completion) in [(0, 2), (1, 1), (2, 1), (3, 0)] {
        let one = (9, prompt, completion);
        let alone = bits(&decoder, &[one], 0);
        assert_eq!(bits(&decoder, &[(1, 70, 9), one, (2, 30, 9)], 1), alone);
    }
}

#[test]
fn a_long_segment_is_the_same_in_blocks_of_queries() {
    let decoder = decoder(Family::Llama, 40);
    let one = (4, 600, 30);
    assert_eq!(bits(&decoder, &[(1, 70, 9), one, (2, 30, 9)], 1), bits(&decoder, &[one], 0));
}

fn gradient_batch() -> (PackedBatch, [f32; 3]) {
    let mut batch = PackedBatch::new();
    for (seed, prompt, completion) in [(1, 5, 4), (2, 1, 7), (3, 9, 2)] {
        push(&mut batch, seed, prompt, completion);
    }
    (batch, [1.0, 0.5, 2.0])
}

fn weighted(losses: &[f32], weights: &[f32]) -> f64 {
    losses.iter().zip(weights).map(|(loss, weight)| f64::from(*loss) * f64::from(*weight)).sum()
}

/// Compares `⟨gradient, direction⟩` with a central difference, along the gradient itself and along a random direction.
fn assert_gradient(what: &str, start: &[f32], gradient: &[f32], mut loss_at: impl FnMut(Vec<f32>) -> f64) {
    let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    assert!(length > 1e-3, "{what}: gradient of length {length}");
    let mut random = ChaCha12Rng::seed_from_u64(7);
    let along: Vec<f64> = gradient.iter().map(|g| f64::from(*g) / length).collect();
    let across: Vec<f64> = along
        .iter()
        .map(|_| if random.random() { 1.0 } else { -1.0 } * (along.len() as f64).powf(-0.5))
        .collect();
    for direction in [along, across] {
        let step = 1e-2;
        let mut moved = |sign: f64| {
            loss_at(
                start
                    .iter()
                    .zip(&direction)
                    .map(|(value, d)| (f64::from(*value) + sign * step * d) as f32)
                    .collect(),
            )
        };
        let measured = (moved(1.0) - moved(-1.0)) / (2.0 * step);
        let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
        assert!(
            (measured - expected).abs() < 4e-3 * length + 1e-4,
            "{what}: {measured} for {expected}, length {length}"
        );
    }
}

#[test]
fn weight_gradients_match_differences() {
    for family in [Family::Qwen2, Family::Qwen3, Family::Llama] {
        let mut decoder = decoder(family, 40);
        let (batch, weights) = gradient_batch();
        let mut grads = WeightGrads::new();
        decoder.train_pass_weighted(&batch, &weights, &mut NoAdapters, Some(&mut grads), Recompute::Nothing);
        let names: Vec<String> = decoder.parameters().map(|weight| weight.name.clone()).collect();
        for (index, name) in names.iter().enumerate() {
            let gradient = grads.take(name).unwrap();
            let start = decoder.parameters().nth(index).unwrap().to_vec();
            assert_gradient(&format!("{family:?} {name}"), &start, &gradient, |values| {
                decoder.parameters_mut().nth(index).unwrap().set(values);
                weighted(&decoder.losses(&batch, &NoAdapters), &weights)
            });
            decoder.parameters_mut().nth(index).unwrap().set(start);
        }
        assert_eq!(grads.iter().count(), 0);
    }
}

#[test]
fn adapter_gradients_match_differences() {
    for family in [Family::Qwen2, Family::Qwen3] {
        let decoder = decoder(family, 40);
        let (batch, weights) = gradient_batch();
        let mut deltas = Deltas::new(decoder.config(), all_sites(decoder.config()));
        decoder.train_pass_weighted(&batch, &weights, &mut deltas, None, Recompute::Nothing);
        for (site, gradient) in deltas.gradients.clone() {
            let weight = deltas.weights[&site].clone();
            let shape = weight.dims();
            assert_gradient(
                &format!("{family:?} {site:?}"),
                &values(weight.clone()),
                &values(gradient),
                |values| {
                    deltas.weights.insert(site, Tensor::from_data(TensorData::new(values, shape), &cpu()));
                    weighted(&decoder.losses(&batch, &deltas), &weights)
                },
            );
            deltas.weights.insert(site, weight);
        }
    }
}

/// Sites below the lowest adapted one may as well not exist: the gradients that are had are the same bits.
#[test]
fn the_pass_ends_at_the_lowest_adapted_site() {
    let decoder = decoder(Family::Qwen2, 40);
    let (batch, weights) = gradient_batch();
    let config = decoder.config();
    let own = |sites: &dyn Fn(Site) -> bool, grads: Option<&mut WeightGrads>| {
        let mut deltas = Deltas::new(config, all_sites(config));
        deltas.weights.retain(|site, _| sites(*site));
        decoder.train_pass_weighted(&batch, &weights, &mut deltas, grads, Recompute::Nothing);
        deltas
            .gradients
            .into_iter()
            .map(|(site, gradient)| (site, values(gradient)))
            .collect::<BTreeMap<_, _>>()
    };
    for lowest in all_sites(config) {
        let adapted = |site: Site| site == lowest || site.layer > lowest.layer;
        let (cut, through) = (own(&adapted, None), own(&adapted, Some(&mut WeightGrads::new())));
        assert!(!cut.is_empty());
        assert_eq!(cut, through);
    }
}

#[test]
fn what_is_computed_again_has_the_same_bits() {
    for family in [Family::Qwen2, Family::Qwen3] {
        let decoder = decoder(family, 40);
        let (batch, weights) = gradient_batch();
        let pass = |recompute| {
            let mut deltas = Deltas::new(decoder.config(), all_sites(decoder.config()));
            let mut grads = WeightGrads::new();
            let losses =
                decoder.train_pass_weighted(&batch, &weights, &mut deltas, Some(&mut grads), recompute);
            let bits = |tensor: &Tensor<2>| values(tensor.clone()).into_iter().map(f32::to_bits).collect();
            let own: Vec<Vec<u32>> = grads.iter().map(|(_, gradient)| bits(gradient)).collect();
            let adapters: Vec<Vec<u32>> = deltas.gradients.values().map(bits).collect();
            (losses, own, adapters)
        };
        let kept = pass(Recompute::Nothing);
        assert_eq!(pass(Recompute::Elementwise), kept);
        assert_eq!(pass(Recompute::Layers), kept);
    }
}

#[test]
fn without_adapters_and_gradients_a_pass_is_its_losses() {
    let decoder = decoder(Family::Llama, 40);
    let (mut batch, _) = gradient_batch();
    batch.push(&[1, 2, 3], &[]);
    let losses = decoder.train_pass(&batch, &mut NoAdapters, None);
    assert_eq!(losses, decoder.losses(&batch, &NoAdapters));
    assert_eq!(losses[3], 0.0);
    assert!(losses[..3].iter().all(|loss| loss.is_finite() && *loss > 0.0));
}
