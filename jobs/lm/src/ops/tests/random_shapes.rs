//! Every operation at random shapes: its kernel against its twin, against what Burn's autodiff makes of the twin, and against differences.
//!
//! A tensor that autodiff tracks has no kernel, so an operation of tracked tensors is its twin.

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use jobs_spec::model::{Rope, RopeScaling};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::RngExt;

use super::{Draw, tracked};
use crate::Rows;
use crate::batch::PackedBatch;
use crate::ops::attention::{self, Heads, Sight};
use crate::ops::linear::Multiply;
use crate::ops::rotary::Rotation;
use crate::ops::{head, linear, rms_norm, swiglu, to_host};

fn same<const D: usize>(what: &str, got: &Tensor<D>, expected: &Tensor<D>) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.dims(), expected.dims());
    for (at, (a, b)) in to_host(got.clone()).into_iter().zip(to_host(expected.clone())).enumerate() {
        prop_assert!((a - b).abs() <= 5e-5 * (1.0 + b.abs()), "{what} at {at}: {a}, expected {b}");
    }
    Ok(())
}

/// `Σ y · dy`, added up in f64.
fn along<const D: usize>(y: &Tensor<D>, dy: &Tensor<D>) -> f64 {
    let pairs = to_host(y.clone()).into_iter().zip(to_host(dy.clone()));
    pairs.map(|(y, dy)| f64::from(y) * f64::from(dy)).sum()
}

/// The slope of `value` at `x` in a random direction against that of the gradient.
fn slope<const D: usize>(
    what: &str,
    x: &Tensor<D>,
    gradient: &Tensor<D>,
    value: impl Fn(Tensor<D>) -> f64,
) -> Result<(), TestCaseError> {
    let step = 1e-2;
    let direction = Draw::seeded(99).plain(x.dims());
    let at = |sign: f32| value(x.clone() + direction.clone() * (sign * step));
    let difference = (at(1.0) - at(-1.0)) / f64::from(2.0 * step);
    let expected = along(gradient, &direction);
    // Differences are of f32 numbers: their error grows with the numbers, not with the slope.
    let size = to_host(gradient.clone()).iter().map(|x| f64::from(x.abs())).sum::<f64>();
    prop_assert!(
        (difference - expected).abs() <= 1e-2 + 5e-3 * size,
        "{what}: difference {difference}, gradient {expected}"
    );
    Ok(())
}

fn plain<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.without_autodiff()
}

/// Segments of these lengths, one behind the other.
fn segments(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut start = 0;
    let next = |length: &usize| {
        start += length;
        start - length..start
    };
    lengths.iter().map(next).collect()
}

proptest! {
    // A fixed seed: differences of f32 numbers have no bound that holds at every shape.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn projections(rows in 1_usize..70, input in 1_usize..40, output in 1_usize..90, seed: u64) {
        let mut draw = Draw::seeded(seed);
        let (x, w) = (draw.plain([rows, input]), draw.plain([output, input]));
        let (b, dy) = (draw.plain([1, output]), draw.plain([rows, output]));
        let y = |x: &Rows| linear::forward(x, &w, Some(&b), Multiply::Together);
        let twin = tracked(&x);
        let expected = twin.clone().matmul(w.clone().transpose()) + b.clone();
        same("y", &y(&x), &plain(expected.clone()))?;
        let dx = linear::backward_input(&dy, &w);
        same("dx", &dx, &twin_gradients!(expected, dy, twin))?;
        slope("dx", &x, &dx, |x| along(&y(&x), &dy))?;
    }

    #[test]
    fn swiglu_rows(rows in 1_usize..20, width in 1_usize..70, seed: u64) {
        let mut draw = Draw::seeded(seed);
        let [gate, up, dy] = [(); 3].map(|()| draw.plain([rows, width]));
        let (tg, tu) = (tracked(&gate), tracked(&up));
        let twin = swiglu::forward(&tg, &tu);
        same("y", &swiglu::forward(&gate, &up), &plain(twin.clone()))?;
        let (d_gate, d_up) = swiglu::backward(gate.clone(), up.clone(), &dy);
        let (twin_gate, twin_up) = swiglu::backward(tg.clone(), tu.clone(), &dy);
        same("twin's d_gate", &d_gate, &plain(twin_gate))?;
        same("twin's d_up", &d_up, &plain(twin_up))?;
        let (auto_gate, auto_up) = twin_gradients!(twin, dy, tg, tu);
        same("d_gate", &d_gate, &auto_gate)?;
        same("d_up", &d_up, &auto_up)?;
        slope("d_gate", &gate, &d_gate, |gate| along(&swiglu::forward(&gate, &up), &dy))?;
        slope("d_up", &up, &d_up, |up| along(&swiglu::forward(&gate, &up), &dy))?;
    }

    #[test]
    fn normed_rows(rows in 1_usize..20, width in 1_usize..70, seed: u64) {
        let mut draw = Draw::seeded(seed);
        let (x, w, dy) = (draw.plain([rows, width]), draw.plain([1, width]), draw.plain([rows, width]));
        // Large, so that a row of small numbers is no cliff for a difference.
        let eps = 0.5;
        let tx = tracked(&x);
        let (twin, twin_saved) = rms_norm::forward(tx.clone(), &w, eps);
        let (y, saved) = rms_norm::forward(x.clone(), &w, eps);
        same("y", &y, &plain(twin.clone()))?;
        let dx = rms_norm::backward(&saved, &w, dy.clone());
        same("twin's dx", &dx, &plain(rms_norm::backward(&twin_saved, &w, dy.clone())))?;
        same("dx", &dx, &twin_gradients!(twin, dy, tx))?;
        slope("dx", &x, &dx, |x| along(&rms_norm::forward(x, &w, eps).0, &dy))?;
    }

    #[test]
    fn turned_heads(
        lengths in prop::collection::vec(1_usize..9, 1..4),
        heads in 1_usize..4,
        half in 1_usize..9,
        seed: u64,
    ) {
        let mut draw = Draw::seeded(seed);
        let positions: Vec<usize> = lengths.iter().flat_map(|length| 0..*length).collect();
        let shape = [positions.len(), heads, 2 * half];
        let (x, dy) = (draw.plain(shape), draw.plain(shape));
        let rope = Rope { theta: 100.0, scaling: RopeScaling::None };
        let rotation = Rotation::new(&rope, 2 * half, &positions, &Device::flex());
        let tx = tracked(&x);
        let twin = rotation.forward(tx.clone());
        same("y", &rotation.forward(x.clone()), &plain(twin.clone()))?;
        let dx = rotation.backward(dy.clone());
        same("dx", &dx, &twin_gradients!(twin, dy, tx))?;
        slope("dx", &x, &dx, |x| along(&rotation.forward(x), &dy))?;
    }

    #[test]
    fn attended_segments(
        lengths in prop::collection::vec(prop_oneof![Just(1_usize), 1_usize..90], 1..4),
        kv_heads in 1_usize..3,
        group in 1_usize..4,
        width in 1_usize..9,
        causal: bool,
        seed: u64,
    ) {
        let mut draw = Draw::seeded(seed);
        let (segments, rows) = (segments(&lengths), lengths.iter().sum());
        let sight = if causal { Sight::Causal } else { Sight::Full };
        let q = draw.plain([rows, kv_heads * group, width]);
        let [k, v] = [(); 2].map(|()| draw.plain([rows, kv_heads, width]));
        let d_out = draw.plain([rows, kv_heads * group * width]);
        let heads = Heads { q, k, v };
        let twin = Heads { q: tracked(&heads.q), k: tracked(&heads.k), v: tracked(&heads.v) };
        let twin_out = attention::forward(&twin, &segments, sight);
        same("out", &attention::forward(&heads, &segments, sight), &plain(twin_out.clone()))?;
        let got = attention::backward(&heads, &segments, sight, &d_out);
        let by_twin = attention::backward(&twin, &segments, sight, &d_out);
        let (dq, dk, dv) = twin_gradients!(twin_out, d_out, twin.q, twin.k, twin.v);
        for (what, got, by_twin, auto) in
            [("dq", &got.q, by_twin.q, dq), ("dk", &got.k, by_twin.k, dk), ("dv", &got.v, by_twin.v, dv)]
        {
            same(what, got, &plain(by_twin))?;
            same(what, got, &auto)?;
        }
        let out = |heads: &Heads| along(&attention::forward(heads, &segments, sight), &d_out);
        slope("dq", &heads.q, &got.q, |q| out(&Heads { q, ..heads.clone() }))?;
        slope("dk", &heads.k, &got.k, |k| out(&Heads { k, ..heads.clone() }))?;
        slope("dv", &heads.v, &got.v, |v| out(&Heads { v, ..heads.clone() }))?;
    }

    #[test]
    fn head_and_loss(
        samples in prop::collection::vec((1_usize..6, 0_usize..6, -1.0_f32..1.0), 1..4),
        hidden in 1_usize..20,
        vocab in 2_usize..40,
        prompts: bool,
        seed: u64,
    ) {
        let mut draw = Draw::seeded(seed);
        let mut batch = if prompts { PackedBatch::learning_prompts(0.5) } else { PackedBatch::new() };
        let mut ids = |count: usize| (0..count).map(|_| draw.0.random_range(0..vocab as u32)).collect::<Vec<_>>();
        for (prompt, completion, _) in &samples {
            batch.push(&ids(*prompt), &ids(*completion));
        }
        let weights: Vec<f32> = samples.iter().map(|(_, _, weight)| *weight).collect();
        let (x, w) = (draw.plain([batch.tokens(), hidden]), draw.plain([vocab, hidden]));
        let got = head::train(&x, &w, &batch, &weights, true);
        let twin = head::train(&tracked(&x), &tracked(&w), &batch, &weights, true);
        for (got, twin) in got.losses.iter().zip(&twin.losses) {
            prop_assert!((got - twin).abs() <= 1e-4 * (1.0 + twin.abs()), "{got}, expected {twin}");
        }
        same("d_hidden", &got.d_hidden, &plain(twin.d_hidden))?;
        prop_assert_eq!(got.d_weight.is_some(), twin.d_weight.is_some());
        if let (Some(got), Some(twin)) = (got.d_weight, twin.d_weight) {
            same("d_weight", &got, &plain(twin))?;
        }
        if !prompts {
            slope("d_hidden", &x, &got.d_hidden, |x| {
                let losses = head::losses(&x, &w, &batch);
                losses.iter().zip(&weights).map(|(loss, weight)| f64::from(*loss) * f64::from(*weight)).sum()
            })?;
        }
    }
}
