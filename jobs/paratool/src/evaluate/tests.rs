#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::path::PathBuf;

use jobs_lora::Adapter;
use jobs_spec::category::Category;
use jobs_spec::manifest::{Embed, Generation, Variant};

use super::*;
use crate::Unwatched;
use crate::testing::{World, export, world};

fn spec(world: &World, variant: Variant, category: Category) -> EvaluateSpec {
    let generation = Generation { max_new_tokens: 12, ..Generation::default() };
    let prompt = world.prompt.clone();
    EvaluateSpec { variant, category, generation, prompt, embed: Embed::default(), limit: None }
}

struct Run {
    outputs: Vec<Output>,
    report: Report,
    files: Vec<Vec<u8>>,
}

fn run(world: &World, spec: &EvaluateSpec, adapters: &AdapterFolders) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let entries = world.entries(spec.category);
    let gate = Some((&world.gate, &world.encoder));
    let inputs =
        Inputs { spec, decoder: &world.decoder, chat: &world.chat, entries: &entries, adapters, gate };
    let report = evaluate(&inputs, folder.path(), None, &mut Unwatched).unwrap();
    let files =
        ["outputs.jsonl", VERDICTS, REPORT].map(|name| std::fs::read(folder.path().join(name)).unwrap());
    Run { outputs: outputs::read(folder.path()).unwrap(), report, files: files.to_vec() }
}

fn texts(run: &Run) -> Vec<&str> {
    run.outputs.iter().map(|output| output.model_output.as_str()).collect()
}

fn folders(world: &World, adapters: &[Adapter]) -> (tempfile::TempDir, AdapterFolders) {
    let root = tempfile::tempdir().unwrap();
    let named =
        world.set.tools.iter().zip(adapters).map(|(tool, adapter)| (tool.key.clone(), adapter.clone()));
    let folders = AdapterFolders::new(export(&named.collect::<Vec<_>>(), root.path()));
    (root, folders)
}

#[test]
fn variants_differ_where_they_should() {
    let world = world();
    let adapters = (0..4).map(|seed| world.adapter(seed)).collect::<Vec<_>>();
    let (_root, all) = folders(&world, &adapters);
    let zeros = vec![Adapter::zeros(&world.shape); 4];
    let (_zero_root, zeros) = folders(&world, &zeros);
    let category = Category::Multiple;
    let of = |variant, adapters: &AdapterFolders| run(&world, &spec(&world, variant, category), adapters);
    let base = of(Variant::base(), &all);
    assert_eq!(base.report.without_adapter, 0);
    // Adapters of zeros, and adapters that nobody has, leave the base's answers as they are.
    assert_eq!(texts(&of(Variant::soft(), &zeros)), texts(&base));
    let none = of(Variant::soft(), &AdapterFolders::default());
    assert_eq!((texts(&none), none.report.without_adapter), (texts(&base), 6));
    // One adapter three times over is that adapter, whatever the weights.
    let (_same_root, same) = folders(&world, &vec![world.adapter(0); 4]);
    assert_eq!(texts(&of(Variant::average(), &same)), texts(&of(Variant::oracle(), &same)));
    assert_ne!(texts(&of(Variant::oracle(), &all)), texts(&base));
    assert_eq!(texts(&of(Variant::oracle(), &all)), texts(&of(Variant::oracle(), &same)));
    assert_eq!(of(Variant::soft(), &all).files, of(Variant::soft(), &all).files);
    assert_eq!(base.report.total, 2);
    assert_eq!(base.report.errors.values().sum::<u64>() + base.report.correct, 2);
}

#[test]
fn a_gate_is_asked_for_by_name() {
    let world = world();
    let (spec, entries) =
        (spec(&world, Variant::top1(), Category::Multiple), world.entries(Category::Multiple));
    let adapters = AdapterFolders::default();
    let inputs = Inputs {
        spec: &spec,
        decoder: &world.decoder,
        chat: &world.chat,
        entries: &entries,
        adapters: &adapters,
        gate: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let error = evaluate(&inputs, folder.path(), None, &mut Unwatched).unwrap_err();
    assert_eq!(error, Failure::Spec("variant top1 needs a gate".to_owned()));
}

/// Saves and stops after every entry.
struct Once(PathBuf);

impl Progress for Once {
    fn step(&mut self, _: u64, _: u64, _: u64, _: Option<f64>) {}

    fn should_stop(&mut self) -> bool {
        true
    }

    fn checkpoint_due(&mut self) -> bool {
        true
    }

    fn checkpoint_folder(&self, _: u64) -> PathBuf {
        self.0.clone()
    }

    fn checkpointed(&mut self, _: u64, _: PathBuf) {}
}

#[test]
fn seeds_are_scored_apart_and_a_stopped_evaluation_goes_on() {
    let world = world();
    let mut spec = spec(&world, Variant::base(), Category::LiveParallelMultiple);
    spec.generation = Generation { temperature: 1.0, seeds: (1..=13).collect(), ..spec.generation };
    let adapters = AdapterFolders::default();
    let whole = run(&world, &spec, &adapters);
    assert_eq!(
        whole.report.by_seed.iter().map(|seed| (seed.seed, seed.total)).collect::<Vec<_>>(),
        (1..=13).map(|seed| (seed, 2)).collect::<Vec<_>>()
    );
    assert_ne!(whole.outputs[0].model_output, whole.outputs[2].model_output);

    let entries = world.entries(spec.category);
    let inputs = Inputs {
        spec: &spec,
        decoder: &world.decoder,
        chat: &world.chat,
        entries: &entries,
        adapters: &adapters,
        gate: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, output) = (folder.path().join("checkpoint"), folder.path().join("output"));
    let mut resume = None;
    // 26 answers are four rounds: three chances to stop.
    for _ in 0..3 {
        let stopped = evaluate(&inputs, &output, resume, &mut Once(checkpoint.clone())).unwrap_err();
        assert_eq!(stopped, Failure::Stopped);
        resume = Some(checkpoint.as_path());
    }
    assert_eq!(evaluate(&inputs, &output, resume, &mut Unwatched).unwrap(), whole.report);
    assert_eq!(std::fs::read(output.join("outputs.jsonl")).unwrap(), whole.files[0]);
}

#[test]
fn a_gold_answer_scores() {
    let world = world();
    let (spec, entries) =
        (spec(&world, Variant::base(), Category::Multiple), world.entries(Category::Multiple));
    let (_, gold) = judged(&entries.entries[1], &spec).unwrap();
    let right = report(
        &spec,
        &[(0, verdict(&gold, "[find_flight(n=1)]")), (0, verdict(&gold, "[find_flight(n=2)]"))],
    );
    assert_eq!((right.correct, right.total, right.accuracy), (1, 2, Some(0.5)));
    assert_eq!(right.errors, BTreeMap::from([("value_error:others".to_owned(), 1)]));
}
