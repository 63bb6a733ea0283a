#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::path::PathBuf;

use jobs_lm::adapt::NoAdapters;
use jobs_spec::manifest::Finetune;

use super::*;
use crate::Unwatched;
use crate::testing::{World, world};

fn spec(world: &World, finetune: Finetune) -> FinetuneSpec {
    let tools = world.set.tools.iter().map(|tool| tool.key.clone()).collect();
    FinetuneSpec { finetune, rank: 2, alpha: 4.0, prompt: world.prompt.clone(), seed: 11, tools }
}

fn inputs<'a>(world: &'a World, spec: &'a FinetuneSpec) -> Inputs<'a> {
    Inputs {
        spec,
        decoder: &world.decoder,
        chat: &world.chat,
        set: &world.set,
        gate: &world.gate,
        embeddings: &world.embeddings,
        shape: &world.shape,
        adapters: (0..spec.tools.len() as u64).map(|seed| world.adapter(seed)).collect(),
        tokens_per_pass: TOKENS_PER_PASS,
    }
}

fn finetuned(world: &World, spec: &FinetuneSpec) -> (Finetuned, FinetuneMetrics) {
    finetune(inputs(world, spec), None, &mut Unwatched).unwrap()
}

#[test]
fn halved_passes_train_the_same_up_to_rounding() {
    let world = world();
    let spec = spec(&world, Finetune { batch: 4, epochs: 2, ..Finetune::default() });
    let (usual, usual_figures) = finetuned(&world, &spec);
    let halved = Inputs { tokens_per_pass: 1, ..inputs(&world, &spec) };
    let (halved, figures) = finetune(halved, None, &mut Unwatched).unwrap();
    assert_eq!((figures.steps, figures.tokens), (usual_figures.steps, usual_figures.tokens));
    for (a, b) in usual.adapters.iter().zip(&halved.adapters) {
        let apart = a.values().iter().zip(b.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{apart}");
    }
}

#[test]
fn every_adapter_starts_where_stage_one_ended_and_only_touched_ones_move() {
    let mut world = world();
    let spec = spec(&world, Finetune { batch: 1, ..Finetune::default() });
    // A rate of zero shows the start of every pool tool, the distractor's included.
    let still = FinetuneSpec { finetune: Finetune { lr: 0.0, ..spec.finetune.clone() }, ..spec.clone() };
    let start = inputs(&world, &spec).adapters;
    assert_eq!(finetuned(&world, &still).0.adapters, start);

    world.set.traces.truncate(1);
    let used = world.set.traces[0].candidates.clone();
    let (ended, metrics) = finetuned(&world, &spec);
    assert_eq!((metrics.traces, metrics.steps, metrics.touched), (1, 1, used.len()));
    for ((tool, before), after) in spec.tools.iter().zip(&start).zip(&ended.adapters) {
        assert_eq!(before != after, used.contains(tool), "{tool}");
    }
}

#[test]
fn gold_only_mode_moves_the_called_tools_alone() {
    let world = world();
    let settings =
        Finetune { learners: Learners::Gold, order: FinetuneOrder::Records, batch: 1, ..Finetune::default() };
    let gold = spec(&world, settings);
    let start = inputs(&world, &gold).adapters;
    let (ended, metrics) = finetuned(&world, &gold);
    assert_eq!(metrics.touched, 3);
    assert_eq!(ended.adapters[3], start[3]);
    assert!((0..3).all(|i| ended.adapters[i] != start[i]));
    // In one step over all traces each called tool learns from its own traces alone, as if they were the whole step.
    let alone = |keep: Option<usize>| {
        let mut world = crate::testing::world();
        if let Some(tool) = keep {
            let key = world.set.tools[tool].key.clone();
            world.set.traces.retain(|trace| trace.tool == key);
        }
        let settings = Finetune { batch: 100, ..gold.finetune.clone() };
        finetuned(&world, &FinetuneSpec { finetune: settings, ..gold.clone() }).0.adapters
    };
    let together = alone(None);
    for (tool, all) in together.iter().enumerate().take(3) {
        // A first step of AdamW depends on the gradient's sign alone, so the other traces' share of the mean does not show.
        let one = &alone(Some(tool))[tool];
        let far = one.values().iter().zip(all.values()).filter(|(a, b)| (*a - *b).abs() > 1e-6).count();
        assert!(far * 50 < one.values().len(), "tool {tool}: {far} numbers differ");
    }
}

#[test]
fn the_loss_falls_and_the_base_does_not_move() {
    let world = world();
    let settings = Finetune { lr: 3e-2, epochs: 8, batch: 4, ..Finetune::default() };
    let mut batch = PackedBatch::new();
    batch.push(&[1, 5, 9], &[7]);
    let before = world.decoder.hidden(&batch, &NoAdapters).into_data();
    let losses = finetuned(&world, &spec(&world, settings)).1.epoch_losses;
    assert_eq!(world.decoder.hidden(&batch, &NoAdapters).into_data(), before);
    assert!(losses.is_sorted_by(|a, b| a > b) && losses[7] < losses[0] - 0.1, "{losses:?}");
}

/// Saves and stops after one step of the run.
struct Once(PathBuf);

impl Progress for Once {
    fn step(&mut self, _: u64, _: u64, _: u64, _: Option<f64>) {}

    fn should_stop(&mut self) -> bool {
        true
    }

    fn checkpoint_due(&mut self) -> bool {
        true
    }

    fn checkpoint_folder(&self, step: u64) -> PathBuf {
        self.0.join(step.to_string())
    }

    fn checkpointed(&mut self, _: u64, _: PathBuf) {}
}

#[test]
fn stopped_at_every_step_it_ends_with_the_same_bytes() {
    let world = world();
    let spec = spec(&world, Finetune { batch: 5, epochs: 2, ..Finetune::default() });
    let (whole, metrics) = finetuned(&world, &spec);
    let folder = tempfile::tempdir().unwrap();
    let mut resume = None;
    for step in 1..metrics.steps {
        let stopped = finetune(inputs(&world, &spec), resume.as_deref(), &mut Once(folder.path().into()));
        assert_eq!(stopped.unwrap_err(), Failure::Stopped);
        resume = Some(folder.path().join(step.to_string()));
    }
    let (resumed, later) = finetune(inputs(&world, &spec), resume.as_deref(), &mut Unwatched).unwrap();
    assert_eq!(resumed, whole);
    assert_eq!(later.epoch_losses, metrics.epoch_losses);

    let other = FinetuneSpec { seed: 12, ..spec.clone() };
    let refused = finetune(inputs(&world, &other), resume.as_deref(), &mut Unwatched).unwrap_err();
    assert!(matches!(refused, Failure::Data(_)), "{refused}");

    whole.write(folder.path()).unwrap();
    for tool in &spec.tools {
        let read = peft::import(&adapter_folder(folder.path(), tool), world.decoder.config()).unwrap();
        assert_eq!(Some(read.values()), whole.adapter(tool).map(Adapter::values));
    }
}

#[test]
fn what_nobody_can_learn_is_counted() {
    let mut world = world();
    let mut spec = spec(&world, Finetune { learners: Learners::Gold, ..Finetune::default() });
    spec.tools.remove(0);
    let long = "long ".repeat(100);
    let trace = Trace { question: long.clone(), ..world.set.traces[5].clone() };
    world.set.traces.push(trace);
    let encoder = &world.encoder;
    world.embeddings = Embeddings::of(&world.set, encoder, &mut Unwatched).unwrap();
    spec.prompt.max_tokens = 100;
    let mut inputs = inputs(&world, &spec);
    inputs.adapters.truncate(3);
    let metrics = finetune(inputs, None, &mut Unwatched).unwrap().1;
    assert_eq!((metrics.traces, metrics.untaught, metrics.dropped), (8, 4, 1));
}

#[test]
fn adapters_of_another_shape_are_refused() {
    let world = world();
    let spec = spec(&world, Finetune::default());
    let mut inputs = inputs(&world, &spec);
    let other = crate::stage1_pretrain::shape(world.decoder.config(), 3, 4.0).unwrap();
    inputs.adapters[1] = Adapter::zeros(&other);
    let error = finetune(inputs, None, &mut Unwatched).unwrap_err().to_string();
    assert!(error.contains(&spec.tools[1]) && error.contains("rank 3"), "{error}");
}
