//! The adapted projection: against automatic differentiation, and the identities that mixtures must keep.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod common;

use burn::tensor::Device;
use common::{DOWN, GATE, adapter, distance, rows, shape, values};
use jobs_lm::Rows;
use jobs_lm::adapt::{Adapters, Site};
use jobs_lora::{Adapter, Bank, BankError, Gradients, RoutedBank, Routing, SlotId};
use jobs_spec::model::Projection;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// A bank of adapters of seeds 0, 1, ….
fn bank(count: u64) -> (Bank, Vec<SlotId>) {
    let mut bank = Bank::new(&shape(), &Device::flex());
    let slots = (0..count).map(|seed| bank.insert(adapter(seed)).unwrap()).collect();
    (bank, slots)
}

/// Forward and backward of one site under a routing: output, gradient of the input, gradients of the slots.
fn run(bank: &Bank, routing: &Routing, x: &Rows, dy: &Rows) -> (Rows, Rows, Gradients) {
    let mut routed = RoutedBank::new(bank, routing).unwrap();
    let [count, width] = x.dims();
    let y = routed.forward(GATE, x, rows(90, dy.dims()));
    let dx = routed.backward(GATE, x, dy, rows(91, [count, width]));
    (y, dx, routed.into_gradients())
}

fn everywhere(candidates: &[(SlotId, f32)]) -> Routing {
    Routing::everywhere(candidates.to_vec())
}

#[test]
fn agrees_with_automatic_differentiation_of_the_looped_form() {
    let (bank, slots) = bank(3);
    let (x, dy) = (rows(10, [9, 12]), rows(11, [9, 20]));
    let routes: [(_, &[(SlotId, f32)]); 2] =
        [(0..4, &[(slots[0], 0.6), (slots[2], 0.4)]), (5..9, &[(slots[1], 1.0)])];
    let mut routing = Routing::new();
    for (range, candidates) in &routes {
        routing.push(range.clone(), candidates.to_vec());
    }
    let (y, dx, gradients) = run(&bank, &routing, &x, &dy);

    let leaf = |rows: Rows| rows.autodiff().require_grad();
    let matrix = |values: &[f32], dims: [usize; 2]| {
        leaf(Rows::from_data(burn::tensor::TensorData::new(values.to_vec(), dims), &Device::flex()))
    };
    let twins = slots.iter().map(|slot| bank.adapter(*slot).unwrap());
    let twins = twins.map(|a| (matrix(a.a(0), [4, 12]), matrix(a.b(0), [20, 4]))).collect::<Vec<_>>();
    let input = leaf(x);
    let mut output = rows(90, [9, 20]).autodiff();
    for (range, candidates) in routes {
        for (slot, weight) in candidates {
            let (a, b) = &twins[slots.iter().position(|s| s == slot).unwrap()];
            let part = input.clone().slice([range.clone(), 0..12]);
            let delta =
                part.matmul(a.clone().transpose()).matmul(b.clone().transpose()).mul_scalar(weight * 2.0);
            let whole = output.clone().slice([range.clone(), 0..20]) + delta;
            output = output.slice_assign([range.clone(), 0..20], whole);
        }
    }
    let mut grads = (output.clone() * dy.autodiff()).sum().backward();
    assert!(distance(&values(&y), &values(&output.inner())) < 1e-5);
    let expected = input.grad_remove(&mut grads).unwrap() + rows(91, [9, 12]);
    assert!(distance(&values(&dx), &values(&expected)) < 1e-5);
    for (slot, (a, b)) in slots.iter().zip(twins) {
        let got = gradients.flat(*slot, &shape());
        let a = values(&a.grad_remove(&mut grads).unwrap());
        let b = values(&b.grad_remove(&mut grads).unwrap());
        assert!(distance(&got[..48], &a) < 1e-5);
        assert!(distance(&got[48..128], &b) < 1e-5);
        assert_eq!(got[128..], [0.0; 128], "nothing flowed through the other site");
    }
}

#[test]
fn a_fresh_adapter_and_unrouted_rows_change_nothing() {
    let mut bank = Bank::new(&shape(), &Device::flex());
    let slot = bank.insert(Adapter::init(&shape(), 5)).unwrap();
    let (x, base) = (rows(1, [6, 12]), rows(2, [6, 20]));
    let routed = RoutedBank::new(&bank, &everywhere(&[(slot, 1.0)])).unwrap();
    assert_eq!(values(&routed.forward(GATE, &x, base.clone())), values(&base));
    assert_eq!(routed.forward(GATE, &rows(1, [0, 12]), rows(2, [0, 20])).dims(), [0, 20], "no row at all");
    let nobody = RoutedBank::new(&bank, &Routing::new()).unwrap();
    assert!(!nobody.adapts(GATE));
    assert_eq!(values(&nobody.forward(GATE, &x, base.clone())), values(&base));
    assert!(routed.adapts(DOWN));
    assert!(!routed.adapts(Site { layer: 1, projection: Projection::Down }));
}

#[test]
fn candidates_of_weight_zero_change_no_bit_and_get_no_gradient() {
    let (bank, slots) = bank(3);
    let (x, dy) = (rows(3, [7, 12]), rows(4, [7, 20]));
    let alone = run(&bank, &everywhere(&[(slots[1], 1.0)]), &x, &dy);
    let hot = run(&bank, &everywhere(&[(slots[0], 0.0), (slots[1], 1.0), (slots[2], 0.0)]), &x, &dy);
    assert_eq!(values(&alone.0), values(&hot.0));
    assert_eq!(values(&alone.1), values(&hot.1));
    assert_eq!(hot.2.slots().collect::<Vec<_>>(), [slots[1]]);
    assert_eq!(alone.2.flat(slots[1], &shape()), hot.2.flat(slots[1], &shape()));
}

#[test]
fn mixtures_are_linear_and_know_no_order() {
    let (bank, slots) = bank(3);
    let (x, dy) = (rows(5, [8, 12]), rows(6, [8, 20]));
    let alone = run(&bank, &everywhere(&[(slots[0], 1.0)]), &x, &dy);
    let halves = run(&bank, &everywhere(&[(slots[0], 0.5), (slots[0], 0.5)]), &x, &dy);
    assert!(distance(&values(&alone.0), &values(&halves.0)) < 1e-5);
    let (whole, sum) = (alone.2.flat(slots[0], &shape()), halves.2.flat(slots[0], &shape()));
    assert!(distance(&whole, &sum) < 1e-5);

    let mix = [(slots[0], 0.5), (slots[1], 0.3), (slots[2], 0.2)];
    let turned = [mix[2], mix[0], mix[1]];
    let (mix, turned) = (run(&bank, &everywhere(&mix), &x, &dy), run(&bank, &everywhere(&turned), &x, &dy));
    assert!(distance(&values(&mix.0), &values(&turned.0)) < 1e-5);
    assert!(distance(&values(&mix.1), &values(&turned.1)) < 1e-5);
}

#[test]
fn gradients_scale_with_the_weight() {
    let (bank, slots) = bank(2);
    let (x, dy) = (rows(7, [8, 12]), rows(8, [8, 20]));
    let gradient = |weight| {
        let (_, _, gradients) = run(&bank, &everywhere(&[(slots[0], weight), (slots[1], 0.5)]), &x, &dy);
        gradients.flat(slots[0], &shape())
    };
    let halved = gradient(0.4).iter().map(|x| x / 2.0).collect::<Vec<_>>();
    assert!(distance(&gradient(0.2), &halved) < 1e-6);
}

#[test]
fn a_segment_has_the_same_bits_in_any_company() {
    let (bank, slots) = bank(3);
    for length in [1, 2, 5, 33] {
        let (x, dy) = (rows(20, [length, 12]), rows(21, [length, 20]));
        let mut routing = Routing::new();
        routing.push(0..length, vec![(slots[1], 1.0)]);
        let alone = run(&bank, &routing, &x, &dy);

        let around = |seed, rows: Rows| {
            let width = rows.dims()[1];
            Rows::cat(vec![common::rows(seed, [3, width]), rows, common::rows(seed + 1, [17, width])], 0)
        };
        let mut routing = Routing::new();
        routing.push(0..3, vec![(slots[0], 1.0)]);
        routing.push(3..3 + length, vec![(slots[1], 1.0)]);
        routing.push(3 + length..20 + length, vec![(slots[2], 0.5), (slots[0], 0.5)]);
        let packed = run(&bank, &routing, &around(30, x), &around(40, dy));
        assert_eq!(alone.2.flat(slots[1], &shape()), packed.2.flat(slots[1], &shape()), "{length} rows");
    }
}

#[test]
fn several_segments_of_a_slot_add_up_in_order() {
    let (bank, slots) = bank(2);
    let (x, dy) = (rows(50, [9, 12]), rows(51, [9, 20]));
    let part = |from: usize, to: usize| {
        let mut routing = Routing::new();
        routing.push(0..to - from, vec![(slots[0], 1.0)]);
        let (x, dy) = (x.clone().slice([from..to, 0..12]), dy.clone().slice([from..to, 0..20]));
        run(&bank, &routing, &x, &dy).2
    };
    let mut routing = Routing::new();
    routing.push(0..4, vec![(slots[0], 1.0)]);
    routing.push(4..9, vec![(slots[0], 1.0)]);
    let together = run(&bank, &routing, &x, &dy).2;
    let mut merged = part(0, 4);
    merged.merge(part(4, 9));
    assert_eq!(together.flat(slots[0], &shape()), merged.flat(slots[0], &shape()));
}

#[test]
fn slots_are_taken_and_reused_and_strangers_refused() {
    let (mut bank, slots) = bank(2);
    assert_eq!(bank.take(slots[0]).unwrap(), adapter(0));
    assert_eq!(bank.take(slots[0]), Err(BankError::Empty(slots[0])));
    assert_eq!(bank.insert(adapter(9)).unwrap(), slots[0]);
    let other = std::sync::Arc::new(jobs_lora::AdapterShape::new(2, 8.0, shape().sites().to_vec()).unwrap());
    assert_eq!(bank.insert(Adapter::zeros(&other)), Err(BankError::Shape));
    bank.take(slots[1]).unwrap();
    let gone = RoutedBank::new(&bank, &everywhere(&[(slots[1], 1.0)])).map(|_| ());
    assert_eq!(gone, Err(BankError::Empty(slots[1])));
}

/// What a tracked tensor goes through: Burn's own operations.
fn twin(bank: &Bank, routing: &Routing, x: &Rows, dy: &Rows) -> (Rows, Rows, Gradients) {
    let mut routed = RoutedBank::new(bank, routing).unwrap();
    let [count, width] = x.dims();
    let (x, dy) = (x.clone().autodiff(), dy.clone().autodiff());
    let y = routed.forward(GATE, &x, rows(90, dy.dims()).autodiff());
    let dx = routed.backward(GATE, &x, &dy, rows(91, [count, width]).autodiff());
    (y.without_autodiff(), dx.without_autodiff(), routed.into_gradients())
}

/// `Σ y · dy`, added up in f64.
fn along(y: &[f32], dy: &[f32]) -> f64 {
    y.iter().zip(dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum()
}

proptest! {
    // A fixed seed: differences of f32 numbers have no bound that holds at every routing.
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]

    /// Segments of unequal lengths, some of one row, some without candidates; slots in none, one or several of them.
    #[test]
    fn any_routing_agrees_with_its_twin_and_with_differences(
        routes in prop::collection::vec((1_usize..12, prop::collection::vec((0_usize..4, -1.0_f32..1.0), 0..4)), 1..5),
        seed: u64,
    ) {
        let (mut bank, slots) = bank(4);
        let count = routes.iter().map(|(length, _)| length).sum();
        let (x, dy) = (rows(seed, [count, 12]), rows(seed ^ 1, [count, 20]));
        let mut routing = Routing::new();
        let mut start = 0;
        for (length, candidates) in &routes {
            let candidates = candidates.iter().map(|(slot, weight)| (slots[*slot], *weight));
            routing.push(start..start + length, candidates.collect());
            start += length;
        }
        let (got, expected) = (run(&bank, &routing, &x, &dy), twin(&bank, &routing, &x, &dy));
        prop_assert!(distance(&values(&got.0), &values(&expected.0)) < 1e-4);
        prop_assert!(distance(&values(&got.1), &values(&expected.1)) < 1e-4);
        prop_assert_eq!(got.2.slots().collect::<Vec<_>>(), expected.2.slots().collect::<Vec<_>>());
        let value = |bank: &Bank, x: &Rows| {
            let y = RoutedBank::new(bank, &routing).unwrap().forward(GATE, x, rows(90, [count, 20]));
            along(&values(&y), &values(&dy))
        };
        let step = 1e-2_f32;
        let close = |difference: f64, gradient: f64| (difference - gradient).abs() < 2e-2 * (1.0 + gradient.abs());
        let direction = rows(seed ^ 2, [count, 12]);
        let at = |sign: f32| value(&bank, &(x.clone() + direction.clone() * (sign * step)));
        let difference = (at(1.0) - at(-1.0)) / f64::from(2.0 * step);
        // `dx` came on top of rows that were there.
        let dx = values(&(got.1 - rows(91, [count, 12])));
        prop_assert!(close(difference, along(&dx, &values(&direction))));
        for slot in slots {
            let gradient = got.2.flat(slot, &shape());
            prop_assert!(distance(&gradient, &expected.2.flat(slot, &shape())) < 1e-4);
            let original = bank.take(slot).unwrap();
            let direction = common::numbers(seed ^ 3, gradient.len());
            let mut at = |sign: f32| {
                let moved = original.values().iter().zip(&direction).map(|(x, d)| x + sign * step * d);
                assert_eq!(bank.insert(Adapter::from_values(&shape(), moved.collect()).unwrap()).unwrap(), slot);
                let value = value(&bank, &x);
                bank.take(slot).unwrap();
                value
            };
            let difference = (at(1.0) - at(-1.0)) / f64::from(2.0 * step);
            prop_assert_eq!(bank.insert(original).unwrap(), slot);
            // The change is bilinear in A and B, so only rounding stands between the two.
            prop_assert!(close(difference, along(&gradient, &direction)));
        }
    }
}
