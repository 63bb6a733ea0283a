//! AdamW: the paper's first step, PyTorch's arithmetic, own clocks, and refusals.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod common;

use burn::tensor::Device;
use common::{GATE, adapter, distance, numbers, rows, shape};
use jobs_lm::adapt::Adapters;
use jobs_lora::{AdamW, Adapter, Bank, Moments, NonFinite, RoutedBank, Routing};

/// PyTorch's single-tensor AdamW, in f64.
fn torch(optimizer: &AdamW, values: &mut [f64], gradients: &[Vec<f32>]) {
    let (mut m, mut v) = (vec![0.0; values.len()], vec![0.0; values.len()]);
    for (t, gradient) in gradients.iter().enumerate() {
        let t = i32::try_from(t + 1).unwrap();
        for (i, g) in gradient.iter().map(|g| f64::from(*g)).enumerate() {
            values[i] *= 1.0 - optimizer.lr * optimizer.weight_decay;
            m[i] = optimizer.beta1 * m[i] + (1.0 - optimizer.beta1) * g;
            v[i] = optimizer.beta2 * v[i] + (1.0 - optimizer.beta2) * g * g;
            let root = (v[i] / (1.0 - optimizer.beta2.powi(t))).sqrt() + optimizer.eps;
            values[i] -= optimizer.lr * m[i] / (1.0 - optimizer.beta1.powi(t)) / root;
        }
    }
}

#[test]
fn follows_pytorch() {
    let optimizer = AdamW { lr: 1e-2, ..AdamW::default() };
    let gradients = (0..20).map(|seed| numbers(seed, 37)).collect::<Vec<_>>();
    let mut values = numbers(99, 37);
    let mut expected = values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    torch(&optimizer, &mut expected, &gradients);
    let mut moments = Moments::new(37);
    for gradient in &gradients {
        optimizer.step(optimizer.lr, &mut values, gradient, &mut moments).unwrap();
    }
    let expected = expected.iter().map(|x| *x as f32).collect::<Vec<_>>();
    assert!(distance(&values, &expected) < 1e-6);
    assert_eq!(moments.steps, 20);
}

#[test]
fn clips_the_whole_gradient() {
    let gradient = numbers(1, 50);
    let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let clipped = AdamW { clip: Some(norm / 4.0), eps: 1.0, ..AdamW::default() };
    let plain = AdamW { clip: None, ..clipped };
    let step = |optimizer: &AdamW, gradient: &[f32]| {
        let (mut values, mut moments) = (vec![1.0; 50], Moments::new(50));
        (optimizer.step(0.1, &mut values, gradient, &mut moments).unwrap(), values)
    };
    let quarter = gradient.iter().map(|g| g / 4.0).collect::<Vec<_>>();
    let (seen, values) = step(&clipped, &gradient);
    assert!((seen - norm).abs() < 1e-9, "the norm before clipping is reported");
    assert!(distance(&values, &step(&plain, &quarter).1) < 1e-6);
    assert_eq!(step(&clipped, &quarter).1.len(), 50);
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for bad in [f32::NAN, f32::INFINITY] {
        let (mut values, mut moments) = (numbers(1, 9), Moments::new(9));
        let mut gradient = numbers(2, 9);
        gradient[4] = bad;
        let result = AdamW::default().step(1e-3, &mut values, &gradient, &mut moments);
        assert_eq!(result, Err(NonFinite));
        assert_eq!((values, moments), (numbers(1, 9), Moments::new(9)));
    }
}

/// One step of `slot` after a pass over random rows of the gate.
fn step(bank: &mut Bank, slot: jobs_lora::SlotId, moments: &mut Moments, seed: u64) {
    let optimizer = AdamW { lr: 1e-3, ..AdamW::default() };
    let mut routed = RoutedBank::new(bank, &Routing::everywhere(vec![(slot, 1.0)])).unwrap();
    routed.backward(GATE, &rows(seed, [9, 12]), &rows(seed + 1, [9, 20]), rows(0, [9, 12]));
    bank.step(slot, &optimizer, optimizer.lr, &routed.into_gradients(), moments).unwrap();
}

#[test]
fn the_first_step_of_a_fresh_adapter() {
    let mut bank = Bank::new(&shape(), &Device::flex());
    let start = Adapter::init(&shape(), 3);
    let slot = bank.insert(start.clone()).unwrap();
    step(&mut bank, slot, &mut Moments::new(shape().parameters()), 70);
    let stepped = bank.adapter(slot).unwrap();
    let keep = (1.0 - 1e-3 * 0.01) as f32;
    let decayed = start.values().iter().map(|a| a * keep).collect::<Vec<_>>();
    assert_eq!(stepped.a(0), &decayed[..48], "B is zero, so A has no gradient and only decays");
    assert!(stepped.b(0).iter().all(|b| (b.abs() - 1e-3).abs() < 1e-6), "B moves by the learning rate");
    assert_eq!(stepped.b(1), start.b(1), "no gradient, no move");
}

#[test]
fn a_slot_has_its_own_clock_and_leaves_others_alone() {
    let parameters = shape().parameters();
    let mut bank = Bank::new(&shape(), &Device::flex());
    let first = bank.insert(adapter(1)).unwrap();
    let late = bank.insert(Adapter::init(&shape(), 3)).unwrap();
    let mut moments = Moments::new(parameters);
    for seed in 0..50 {
        step(&mut bank, first, &mut moments, 2 * seed);
    }
    assert_eq!(
        bank.adapter(late).unwrap(),
        &Adapter::init(&shape(), 3),
        "bytes kept over 50 steps of the other"
    );
    step(&mut bank, late, &mut Moments::new(parameters), 70);
    let moved = bank.adapter(late).unwrap().b(0).to_vec();
    assert!(
        moved.iter().all(|b| (b.abs() - 1e-3).abs() < 1e-6),
        "a late first update is still one learning rate"
    );
}
