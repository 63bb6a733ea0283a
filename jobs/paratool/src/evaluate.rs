//! Evaluation: one variant answers the held-out entries of one category, and the benchmark's own checker judges.
//!
//! For every seed of the settings and every entry the agent loop ([`agent`]) runs with the candidates' adapters in a bank. The gate reads
//! the step's text, encoded by the frozen encoder without any adapter, and the candidates' documents or learned rows. Draws of a
//! generation depend on seed, entry and step alone. A candidate that has no adapter adds nothing, and is counted.
//!
//! The outputs so far are the whole state: a stopped evaluation goes on behind its last answered entry.

mod adapters;
mod composed;
mod outputs;

use std::collections::BTreeMap;
use std::path::Path;

use jobs_data::set::{Entry, EntrySet};
use jobs_eval::bfcl;
use jobs_eval::score::{Tally, Verdict, verdict};
use jobs_lm::decoder::Decoder;
use jobs_spec::job::EvaluateSpec;
use jobs_spec::manifest::{AdapterSet, Weights};
use jobs_text::Chat;
use rayon::prelude::*;
use serde::Serialize;

pub use adapters::AdapterFolders;
pub use outputs::Output;

use self::composed::{Composed, GateReader};
use crate::agent::{self, Policy, Task};
use crate::embed::TextEncoder;
use crate::gate::Gate;
use crate::{Checkpointing, Failure, Progress, tensors};

/// Entries that are answered side by side, between two chances to pause.
const ROUND: usize = 8;
const REPORT: &str = "report.json";
const VERDICTS: &str = "verdicts.jsonl";

/// What an evaluation reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The settings.
    pub spec: &'a EvaluateSpec,
    /// The base model.
    pub decoder: &'a Decoder,
    /// Its tokenizer and template.
    pub chat: &'a Chat,
    /// The entries of the spec's category.
    pub entries: &'a EntrySet,
    /// The adapters of the spec's set; not read where the variant has none.
    pub adapters: &'a AdapterFolders,
    /// The gate and the encoder of its contexts, where the variant weighs by it.
    pub gate: Option<(&'a Gate, &'a TextEncoder)>,
}

/// Right answers of one seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeedScore {
    /// The seed.
    pub seed: u64,
    /// Right answers.
    pub correct: u64,
    /// All answers.
    pub total: u64,
}

/// The score of one variant on one category.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The variant's name.
    pub variant: String,
    /// The category's name.
    pub category: String,
    /// Right answers over all seeds.
    pub correct: u64,
    /// All answers.
    pub total: u64,
    /// Right over all, 0 to 1; `None` without any.
    pub accuracy: Option<f64>,
    /// Each seed by itself.
    pub by_seed: Vec<SeedScore>,
    /// How many answers failed for which reason, by the checker's error type.
    pub errors: BTreeMap<String, u64>,
    /// Candidates of the entries that have no adapter, where the variant uses adapters.
    pub without_adapter: usize,
}

/// Answers, judges and writes `outputs.jsonl`, `verdicts.jsonl` and `report.json` into `folder`.
///
/// # Errors
/// When inputs are missing or do not fit together, an entry cannot be judged, a file cannot be written, or the run is stopped.
pub fn evaluate(
    inputs: &Inputs<'_>,
    folder: &Path,
    resume: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Report, Failure> {
    let spec = inputs.spec;
    let entries = inputs.entries.entries.iter().take(spec.limit.unwrap_or(usize::MAX));
    let entries = entries.map(|entry| judged(entry, spec)).collect::<Result<Vec<_>, _>>()?;
    let seeds = &spec.generation.seeds;
    let plan =
        seeds.iter().flat_map(|seed| entries.iter().map(move |entry| (*seed, entry))).collect::<Vec<_>>();
    let mut done = resume.map_or(Ok(Vec::new()), outputs::read)?;
    outputs::check(
        &done,
        &plan.iter().map(|(seed, (entry, _))| (*seed, entry.id.as_str())).collect::<Vec<_>>(),
    )?;

    let open = plan.split_at(done.len()).1;
    let candidates = open.iter().flat_map(|(_, (entry, _))| &entry.candidates);
    let gate = inputs
        .gate
        .map(|(gate, encoder)| GateReader::new(gate.on(inputs.decoder.device()), encoder, candidates));
    let (mut tokens, gate) = (0, gate.transpose()?);
    for round in open.chunks(ROUND) {
        let outputs = round.par_iter().map(|(seed, (entry, _))| run(inputs, entry, *seed, gate.as_ref()));
        for (output, count) in outputs.collect::<Result<Vec<_>, _>>()? {
            done.push(output);
            tokens += count;
        }
        let step = done.len() as u64;
        progress.step(step, plan.len() as u64, tokens, None);
        if done.len() < plan.len() {
            progress.pause(step, |folder| outputs::write(folder, &done))?;
        }
    }
    let verdicts = plan.iter().zip(&done);
    let verdicts = verdicts.map(|((seed, (_, gold)), output)| (*seed, verdict(gold, &output.model_output)));
    let verdicts = verdicts.collect::<Vec<_>>();
    let mut report = report(spec, &verdicts);
    report.without_adapter = without_adapter(inputs, entries.iter().map(|(entry, _)| *entry));
    outputs::write(folder, &done)?;
    write(folder, &verdicts, &report)?;
    Ok(report)
}

/// An entry with the view of it that the checker takes.
fn judged<'a>(entry: &'a Entry, spec: &EvaluateSpec) -> Result<(&'a Entry, bfcl::Entry), Failure> {
    let gold = entry.official(spec.category);
    let gold = gold.map_err(|problem| Failure::Data(format!("entry {}: {problem}", entry.id)))?;
    Ok((entry, gold))
}

/// The output of one entry, and the tokens that it took.
fn run(
    inputs: &Inputs<'_>,
    entry: &Entry,
    seed: u64,
    gate: Option<&GateReader<'_>>,
) -> Result<(Output, u64), Failure> {
    let spec = inputs.spec;
    let names = entry.ground_truth.as_array().into_iter().flatten();
    let gold = names.filter_map(|call| call.as_object()?.keys().next().cloned()).collect::<Vec<_>>();
    let task = Task {
        question: &entry.question,
        tools: &entry.candidates,
        gold: &gold,
        multi_step: spec.category.is_multi_step(),
    };
    let weights = weights(spec);
    let policy = Policy { prompt: &spec.prompt, documents: spec.variant.documents, weights };
    let mut model = Composed::new(inputs, entry, seed, gate)?;
    let model_output = agent::answer(&task, &policy, &mut model)?;
    Ok((Output { id: entry.id.clone(), category: spec.category, seed, model_output }, model.tokens))
}

/// How the variant weighs adapters, if it has any.
fn weights(spec: &EvaluateSpec) -> Option<Weights> {
    match spec.variant.adapters {
        AdapterSet::None => None,
        AdapterSet::Pretrained | AdapterSet::Finetuned => Some(spec.variant.weights),
    }
}

fn without_adapter<'a>(inputs: &Inputs<'_>, entries: impl Iterator<Item = &'a Entry>) -> usize {
    if weights(inputs.spec).is_none() {
        return 0;
    }
    entries.flat_map(|entry| &entry.candidates).filter(|tool| !inputs.adapters.has(&tool.key)).count()
}

fn report(spec: &EvaluateSpec, verdicts: &[(u64, Verdict)]) -> Report {
    let mut errors = BTreeMap::new();
    for error in verdicts.iter().filter_map(|(_, verdict)| verdict.error_type.clone()) {
        *errors.entry(error).or_insert(0) += 1;
    }
    let tally = |seed: Option<u64>| {
        let mut tally = Tally::default();
        let own = verdicts.iter().filter(|(other, _)| seed.is_none_or(|seed| seed == *other));
        own.for_each(|(_, verdict)| tally.add(verdict.verdict));
        tally
    };
    let all = tally(None);
    let by_seed = spec.generation.seeds.iter().map(|&seed| {
        let Tally { correct, total } = tally(Some(seed));
        SeedScore { seed, correct, total }
    });
    Report {
        variant: spec.variant.name.clone(),
        category: spec.category.to_string(),
        correct: all.correct,
        total: all.total,
        accuracy: all.accuracy(),
        by_seed: by_seed.collect(),
        errors,
        without_adapter: 0,
    }
}

fn write(folder: &Path, verdicts: &[(u64, Verdict)], report: &Report) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(flatten)]
        verdict: &'a Verdict,
        seed: u64,
    }
    let lines = verdicts.iter().map(|(seed, verdict)| serde_json::to_string(&Line { verdict, seed: *seed }));
    let lines = lines
        .map(|line| line.map(|line| line + "\n"))
        .collect::<Result<String, _>>()
        .map_err(Failure::data)?;
    tensors::replace(&folder.join(VERDICTS), lines.as_bytes())?;
    let report = serde_json::to_string_pretty(report).map_err(Failure::data)?;
    tensors::replace(&folder.join(REPORT), (report + "\n").as_bytes())
}

#[cfg(test)]
mod tests;
