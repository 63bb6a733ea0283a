//! Training a whole model: it learns, repeats and resumes to the bit.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod common;

use common::{base, bits, samples};
use jobs_lora::AdamW;
use jobs_train::checkpoint::TrainState;
use jobs_train::full::{FullConfig, FullError, FullTrainer};
use jobs_train::guard::Fault;
use jobs_train::schedule::{Decay, Schedule};

const CONFIG: FullConfig = FullConfig {
    optimizer: AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: Some(1.0) },
    schedule: Schedule { warmup: 2, decay: Decay::Linear },
    batch: 3,
    epochs: 6,
    prompt_weight: 0.0,
    seed: Some(5),
};

fn trainer(config: FullConfig) -> FullTrainer {
    let model = base(16, 2, 24, 2);
    FullTrainer::new((*model).clone(), samples(3, 7, 12), config).unwrap()
}

#[test]
fn learns_and_resumes_from_every_step_to_the_same_bytes() {
    let mut whole = trainer(CONFIG);
    let mut states = vec![whole.snapshot()];
    while let Some(step) = whole.step().unwrap() {
        assert_eq!((step.step, step.total), (states.len() as u64, 18));
        states.push(whole.snapshot());
    }
    assert_eq!(states.len(), 19);
    let (first, last) = (whole.losses()[0], whole.losses()[17]);
    assert!(last < 0.8 * first, "loss went from {first} to {last}");
    for state in &states {
        let folder = tempfile::tempdir().unwrap();
        state.save(folder.path()).unwrap();
        let mut resumed = trainer(CONFIG);
        resumed.resume(TrainState::load(folder.path()).unwrap()).unwrap();
        while resumed.step().unwrap().is_some() {}
        assert_eq!(resumed.snapshot(), whole.snapshot(), "resumed at step {}", state.steps());
    }
    let trained = whole.snapshot().values;
    let held = whole
        .into_decoder()
        .parameters()
        .flat_map(|p| p.value.clone().try_into_vec_as::<f32>().unwrap())
        .collect::<Vec<_>>();
    assert_eq!(bits(&held), bits(&trained), "the decoder has the trained weights");
}

#[test]
fn gradients_agree_with_differences_of_the_loss() {
    // One step of plain size: with eps far above the gradient, AdamW moves each weight by lr · g / eps.
    let optimizer = AdamW { lr: 1.0, eps: 1e4, weight_decay: 0.0, clip: None, ..CONFIG.optimizer };
    let config = FullConfig { optimizer, schedule: Schedule::default(), batch: 7, epochs: 1, ..CONFIG };
    let mut moved = trainer(config);
    let before = moved.snapshot().values;
    moved.step().unwrap().unwrap();
    let after = moved.snapshot().values;
    let loss = |values: Vec<f32>| {
        let mut trainer = trainer(config);
        let state = TrainState { values, ..trainer.snapshot() };
        trainer.resume(state).unwrap();
        f64::from(trainer.step().unwrap().unwrap().loss)
    };
    // The step is -gradient / eps, so from `-reach` to `+reach` steps the loss falls by 2 · reach · eps · |step|², to first order.
    let step = before.iter().zip(&after).map(|(b, a)| f64::from(a - b)).collect::<Vec<_>>();
    let square = step.iter().map(|s| s * s).sum::<f64>();
    let reach = 1e-2 / square.sqrt();
    let along = |reach: f64| {
        loss(before.iter().zip(&step).map(|(b, s)| (f64::from(*b) + reach * s) as f32).collect())
    };
    let seen = along(-reach) - along(reach);
    let expected = 2.0 * reach * optimizer.eps * square;
    assert!((seen - expected).abs() < 0.05 * expected, "{seen} against {expected}");
}

#[test]
fn mistakes_and_infinite_numbers_are_refused() {
    let model = base(16, 2, 24, 2);
    assert!(matches!(FullTrainer::new((*model).clone(), Vec::new(), CONFIG), Err(FullError::Empty)));
    let mut strange = samples(3, 2, 12);
    strange[1].prompt[0] = 300;
    assert!(matches!(FullTrainer::new((*model).clone(), strange, CONFIG), Err(FullError::Token(_))));

    let mut trainer = trainer(CONFIG);
    let fresh = trainer.snapshot();
    for state in [
        TrainState { layout: "another".into(), ..fresh.clone() },
        TrainState { seed: 1, ..fresh.clone() },
        TrainState { values: vec![0.0], ..fresh.clone() },
    ] {
        assert!(matches!(trainer.resume(state), Err(FullError::Resume(_))));
    }
    let mut broken = fresh;
    broken.values.fill(f32::NAN);
    trainer.resume(broken).unwrap();
    assert!(matches!(trainer.step(), Err(FullError::NonFinite(0, Fault::Loss))));
}
