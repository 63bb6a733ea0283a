#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use jobs_data::tool::Tool;
use jobs_spec::category::Category;
use jobs_spec::manifest::ToolVector;
use serde_json::json;

use super::*;
use crate::{Progress, Unwatched};

const CATEGORY: Category = Category::Multiple;

fn tools(count: usize) -> Vec<Tool> {
    (0..count).map(|i| Tool::new(json!({"name": format!("t{i}"), "parameters": {}})).unwrap()).collect()
}

/// Traces over `candidates` tools whose question names the tool, and vectors in which it can be read off.
fn toy(count: usize, candidates: usize, copies: usize) -> (TrainingSet, Embeddings) {
    let tools = tools(count);
    let mut traces = Vec::new();
    for (i, tool) in tools.iter().enumerate() {
        for copy in 0..copies {
            let offset = copy % (count - candidates + 1);
            let others = (1..candidates).map(|k| tools[(i + k + offset) % count].key.clone());
            let mut candidates: Vec<_> = std::iter::once(tool.key.clone()).chain(others).collect();
            let turn = copy % candidates.len();
            candidates.rotate_left(turn);
            traces.push(Trace {
                category: CATEGORY,
                tool: tool.key.clone(),
                question: format!("question {i}"),
                candidates,
                answer: format!("[t{i}(copy={copy})]"),
            });
        }
    }
    let one_hot = |i: usize| (0..count).map(|j| if i == j { 2.0 } else { 0.0 }).collect::<Vec<f32>>();
    let documents = tools.iter().enumerate().map(|(i, tool)| (document(tool), one_hot(i)));
    let questions = (0..count).map(|i| (format!("question {i}"), one_hot(i)));
    let embeddings = Embeddings::from_vectors(count, documents.chain(questions));
    (TrainingSet { tools: tools.clone(), traces }, embeddings)
}

fn spec(lambda: f64, epochs: usize, tool_vector: ToolVector) -> GateSpec {
    let gate = manifest::Gate {
        hidden: 64,
        epochs,
        lr: 3e-3,
        batch: 32,
        lambda,
        lambda_by_category: BTreeMap::new(),
        tool_vector,
        ..manifest::Gate::default()
    };
    GateSpec { gate, seed: 5 }
}

fn trained(spec: &GateSpec, toy: &(TrainingSet, Embeddings)) -> (Gate, GateMetrics) {
    train(spec, &toy.1, &toy.0, &Device::flex(), None, &mut Unwatched).unwrap()
}

#[test]
fn separable_traces_lead_to_the_ceiling() {
    for candidates in [2, 4, 10] {
        let toy = toy(12, candidates, 16);
        for (lambda, tolerance) in [(0.4, 0.01), (0.8, 0.01), (0.0, 0.01)] {
            let metrics = trained(&spec(lambda, 60, ToolVector::Document), &toy).1;
            let last = metrics.epochs.last().unwrap();
            assert_eq!(last.accuracy, 1.0);
            assert!((f64::from(last.ceiling) - ceiling(candidates, lambda)).abs() < 1e-6);
            let gap = (last.gold_weight - last.ceiling).abs();
            assert!(gap < tolerance, "λ {lambda}, {candidates} candidates: {last:?}");
        }
    }
}

#[test]
fn the_steps_before_a_trace_are_examples_too() {
    let (mut set, embeddings) = toy(3, 3, 1);
    let calls = jobs_eval::bfcl::decode("[t1(), unknown(), t0()]").unwrap();
    let question = history::with_history("question 1", &calls);
    set.traces =
        vec![Trace { question: question.clone(), tool: set.tools[2].key.clone(), ..set.traces[0].clone() }];
    let texts = history::earlier(&question).into_iter().map(|(text, _)| text).chain([question]);
    let vectors = texts.enumerate().map(|(i, text)| (text, vec![i as f32; 3]));
    let documents =
        set.tools.iter().map(|tool| (document(tool), embeddings.vector(&document(tool)).unwrap().to_vec()));
    let embeddings = Embeddings::from_vectors(3, vectors.chain(documents));
    let gate = manifest::Gate { held_out: 0.0, ..manifest::Gate::default() };
    let examples = Examples::of(&GateSpec { gate, seed: 5 }, &embeddings, &set).unwrap();
    let called = examples.train.iter().map(|e| (e.context[0], set.tools[e.tools[e.gold]].name.as_str()));
    // The call of no candidate teaches nothing, but is part of the next step's text.
    assert_eq!(called.collect::<Vec<_>>(), [(0.0, "t1"), (2.0, "t0"), (3.0, "t2")]);
}

#[test]
fn a_larger_lambda_gives_a_larger_entropy() {
    let toy = toy(6, 4, 12);
    let entropy = |lambda| trained(&spec(lambda, 20, ToolVector::Document), &toy).1.epochs[19].entropy;
    let entropies = [0.0, 0.3, 0.6, 0.9].map(entropy);
    assert!(entropies.is_sorted() && entropies[0] < entropies[3], "{entropies:?}");
}

#[test]
fn lambda_may_be_divided_by_the_logarithm_of_the_candidates_and_set_by_category() {
    let (set, _) = toy(6, 4, 1);
    let mut settings = spec(0.6, 1, ToolVector::Document).gate;
    assert_eq!(lambda(&settings, &set.traces[0], 4), 0.6);
    settings.lambda_by_category.insert(CATEGORY, 0.3);
    assert_eq!(lambda(&settings, &set.traces[0], 4), 0.3);
    settings.lambda_per_log_candidates = true;
    assert_eq!(lambda(&settings, &set.traces[0], 4), 0.3 / 4f64.ln());
}

#[test]
fn one_candidate_gets_weight_one_and_teaches_nothing() {
    let toy = toy(3, 1, 4);
    let (gate, metrics) = trained(&spec(0.6, 2, ToolVector::Document), &toy);
    assert_eq!((metrics.single, metrics.trained, metrics.best_epoch), (12, 0, None));
    let weigher = gate.on(&Device::flex());
    assert_eq!(weigher.weights(&[0.0; 3], &[&[1.0; 3]]).unwrap(), [1.0]);
    assert!(weigher.weights(&[0.0; 2], &[&[1.0; 3]]).unwrap_err().to_string().contains("not of 2"));
}

#[test]
fn distractors_stand_beside_an_only_candidate() {
    let (set, embeddings) = toy(4, 1, 3);
    let mut spec = spec(0.6, 1, ToolVector::Document);
    (spec.gate.distractors, spec.gate.held_out) = (2, 0.0);
    let examples = Examples::of(&spec, &embeddings, &set).unwrap();
    assert_eq!((examples.train.len(), examples.single), (12, 0));
    let mut drawn = BTreeSet::new();
    for (example, trace) in examples.train.iter().zip(&set.traces) {
        let mut tools = example.tools.clone();
        assert_eq!(set.tools[tools[example.gold]].key, trace.tool);
        tools.sort_unstable();
        tools.dedup();
        assert_eq!(tools.len(), 3);
        drawn.insert(tools);
    }
    assert!(drawn.len() > 2, "{drawn:?}");
    // There are no more than three others.
    spec.gate.distractors = 9;
    assert_eq!(Examples::of(&spec, &embeddings, &set).unwrap().train[0].tools.len(), 4);
}

#[test]
fn untouched_learned_rows_keep_their_bytes_and_a_first_step_is_the_rate() {
    let (mut set, embeddings) = toy(6, 2, 8);
    let untouched = set.tools[5].key.clone();
    set.traces.retain(|trace| !trace.candidates.contains(&untouched));
    let mut spec = spec(0.4, 1, ToolVector::Learned);
    spec.gate.batch = 1_000;
    let examples = Examples::of(&spec, &embeddings, &set).unwrap();
    let device = Device::flex();
    let mut training = Training::new(&spec, &examples, &device);
    let before = training.gate.table().unwrap().values().to_vec();
    let moved = |training: &Training<'_>, row: usize| {
        let after = &training.gate.table().unwrap().values()[row * 6..row * 6 + 6];
        after.iter().zip(&before[row * 6..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    // Long after the network began to step, a row that is touched for the first time moves by the rate: its clock is its own.
    training.moments.steps = 5_000;
    training.epoch(&mut Unwatched).unwrap();
    assert!((moved(&training, 0) - spec.gate.lr as f32).abs() < 1e-5);
    assert_eq!((moved(&training, 5), moved(&training, 6)), (0.0, 0.0));
    assert_eq!(training.row_moments.iter().map(|m| m.steps).collect::<Vec<_>>(), [1, 1, 1, 1, 1, 0]);
}

/// Asks for a checkpoint after every epoch and stops after a number of them.
struct Stopping {
    folder: PathBuf,
    left: usize,
}

impl Progress for Stopping {
    fn step(&mut self, _: u64, _: u64, _: u64, _: Option<f64>) {}

    fn should_stop(&mut self) -> bool {
        self.left == 0
    }

    fn checkpoint_due(&mut self) -> bool {
        true
    }

    fn checkpoint_folder(&self, _: u64) -> PathBuf {
        self.folder.clone()
    }

    fn checkpointed(&mut self, _: u64, _: PathBuf) {
        self.left -= 1;
    }
}

#[test]
fn a_resumed_training_gives_the_same_bytes() {
    let toy = toy(6, 3, 10);
    for vector in [ToolVector::Document, ToolVector::Learned] {
        let spec = spec(0.6, 4, vector);
        let whole = trained(&spec, &toy);
        for left in [1, 3] {
            let folder = tempfile::tempdir().unwrap();
            let mut stopping = Stopping { folder: folder.path().join("checkpoint"), left };
            let device = Device::flex();
            let stopped = train(&spec, &toy.1, &toy.0, &device, None, &mut stopping).unwrap_err();
            assert_eq!(stopped, Failure::Stopped);
            let resume = Some(stopping.folder.as_path());
            assert_eq!(train(&spec, &toy.1, &toy.0, &device, resume, &mut Unwatched).unwrap(), whole);
            let other = GateSpec { seed: 6, ..spec.clone() };
            let refused = train(&other, &toy.1, &toy.0, &device, resume, &mut Unwatched).unwrap_err();
            assert!(matches!(refused, Failure::Data(_)), "{refused}");
        }
        let folder = tempfile::tempdir().unwrap();
        whole.0.write(folder.path()).unwrap();
        assert_eq!(Gate::read(folder.path()).unwrap(), whole.0);
    }
}

#[test]
fn the_held_out_share_depends_on_content_alone() {
    let (set, _) = toy(12, 3, 40);
    let share =
        |traces: &[Trace]| traces.iter().filter(|t| held_out(t, 0.2)).count() as f64 / traces.len() as f64;
    assert!((share(&set.traces) - 0.2).abs() < 0.05);
    assert!(set.traces.iter().all(|trace| !held_out(trace, 0.0) && held_out(trace, 1.0)));
}
