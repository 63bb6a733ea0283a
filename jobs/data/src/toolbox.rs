//! The example data set: authored tools with sentences to ask for them become records with traces and held-out entries.
//!
//! Held-out requests hold values that no trace holds, and now and then a wording (each tool's last) that no trace has. Names of functions
//! and parameters never stand in a request, so that nothing but training can tell them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jobs_eval::bfcl::{Call, Value};
use jobs_spec::category::Category;
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::error::{DataError, Problem};
use crate::synthesis::draw::{self, Manner, Rng};
use crate::synthesis::neighbours::neighbours;
use crate::synthesis::phrasing::Atomic;
use crate::synthesis::{Composed, Order, Pool, Source, Split, Style, compose};
use crate::tool::Tool;
use crate::trace::Trace;
use crate::{bfcl, lines};

/// How much is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Traces of each tool in each category.
    pub traces: usize,
    /// Held-out entries of each category.
    pub entries: usize,
    /// Share of held-out pairs in the wording that no trace has.
    pub unseen_wordings: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { traces: 56, entries: 64, unseen_wordings: 0.15 }
    }
}

/// What [`generate`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Generated {
    /// Tools read.
    pub tools: usize,
    /// Traces written.
    pub traces: usize,
    /// Held-out entries written.
    pub entries: usize,
    /// Size of all files in bytes.
    pub bytes: usize,
}

/// Reads a JSON list of tools with `phrasings` and writes `<category>.jsonl` and `entries/` under a folder. Equal input and seed give equal
/// bytes.
///
/// # Errors
/// A tools file that cannot be read or breaks its format, or a folder that cannot be written.
pub fn generate(tools: &Path, out: &Path, seed: u64, options: &Options) -> Result<Generated, DataError> {
    let sources = read_tools(tools)?;
    let mut generated = Generated { tools: sources.len(), ..Generated::default() };
    let mut write = |name: &str, bytes: Vec<u8>| {
        generated.bytes += bytes.len();
        write_file(&out.join(name), &bytes)
    };
    let toolbox = Toolbox::new(&sources, seed, options);
    let (mut traces, mut entries) = (0, 0);
    for category in Category::ALL {
        let records = toolbox.records(category, options.traces);
        traces += records.iter().map(|record| record.count).sum::<usize>();
        write(&format!("{category}.jsonl"), lines::write(records.iter().map(|record| &record.line)))?;
        let held_out = toolbox.entries(category, options.entries);
        entries += held_out.len();
        let file = bfcl::file_name(category);
        write(&format!("entries/{file}"), lines::write(held_out.iter().map(|(prompt, _)| prompt)))?;
        let answers = lines::write(held_out.iter().map(|(_, answer)| answer));
        write(&format!("entries/possible_answer/{file}"), answers)?;
    }
    Ok(Generated { traces, entries, ..generated })
}

fn read_tools(path: &Path) -> Result<Vec<Source>, DataError> {
    let text = fs::read_to_string(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let wrong = |problem| DataError::Document { path: path.to_owned(), problem };
    let documents: Vec<Json> = serde_json::from_str(&text)
        .map_err(|e| wrong(Problem::new("document", format!("not a JSON list: {e}"))))?;
    let sources = documents
        .iter()
        .enumerate()
        .map(|(i, document)| Source::authored(document).map_err(|e| wrong(e.under(&format!("[{i}]")))))
        .collect::<Result<Vec<_>, _>>()?;
    match sources.len() {
        0..=4 => Err(wrong(Problem::new("document", "expected at least five tools"))),
        _ => Ok(sources),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let io_error = |source| DataError::Io { path: path.to_owned(), source };
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(io_error)?;
    fs::write(path, bytes).map_err(io_error)
}

/// One line of a record file.
struct Record {
    line: Json,
    count: usize,
}

/// Everything that records and entries are put together from.
struct Toolbox<'a> {
    seed: u64,
    tools: Vec<&'a Tool>,
    by_key: BTreeMap<&'a str, &'a Tool>,
    near: Vec<Vec<usize>>,
    /// Pairs of each tool, for training and held out, plain and casual.
    training: [Vec<Vec<Atomic>>; 2],
    held_out: [Vec<Vec<Atomic>>; 2],
}

/// Distinct pairs that training requests of one style draw from, and held-out ones.
const TRAINING_PAIRS: usize = 240;
const HELD_OUT_PAIRS: usize = 20;

impl<'a> Toolbox<'a> {
    fn new(sources: &'a [Source], seed: u64, options: &Options) -> Self {
        let tools: Vec<&Tool> = sources.iter().map(|source| &source.tool).collect();
        let unseen = (HELD_OUT_PAIRS as f64 * options.unseen_wordings.clamp(0.0, 1.0)).round() as usize;
        let seen = |all: usize| 0..all.max(2) - 1;
        let pairs = |style| {
            let training = Manner { style, split: Split::Training { seed }, open: false };
            let held_out = Manner { split: Split::HeldOut { seed }, ..training };
            let mut both = (Vec::new(), Vec::new());
            for source in sources {
                let stream =
                    |part: &str| draw::stream(seed, &format!("toolbox {part} {style:?} {}", source.tool.key));
                both.0.push(source.atomics(TRAINING_PAIRS, seen, training, &mut stream("training")));
                let rng = &mut stream("held out");
                let mut kept = source.atomics(HELD_OUT_PAIRS - unseen, seen, held_out, rng);
                kept.extend(source.atomics(unseen, |all| all - 1..all, held_out, rng));
                both.1.push(kept);
            }
            both
        };
        let (plain, casual) = (pairs(Style::Plain), pairs(Style::Casual));
        Self {
            seed,
            near: neighbours(&tools, tools.len()),
            by_key: tools.iter().map(|tool| (tool.key.as_str(), *tool)).collect(),
            tools,
            training: [plain.0, casual.0],
            held_out: [plain.1, casual.1],
        }
    }

    fn pool<'b>(&'b self, pairs: &'b [Vec<Vec<Atomic>>; 2], style: Style, order: Order) -> Pool<'b> {
        let [plain, casual] = pairs;
        let atomics = match style {
            Style::Plain => plain,
            Style::Casual => casual,
        };
        Pool { tools: &self.tools, atomics, near: &self.near, order }
    }

    /// One record a tool, with `count` traces.
    fn records(&self, category: Category, count: usize) -> Vec<Record> {
        let style = style_of(category);
        let pool = self.pool(&self.training, style, Order::MostlyTools);
        let record = |target: usize| {
            let tool = self.tools[target];
            let rng = &mut draw::stream(self.seed, &format!("{category} traces {}", tool.key));
            let traces: Vec<Trace> = (0..count)
                .filter_map(|i| match category {
                    Category::Multiple | Category::LiveMultiple => {
                        pool.single(target, i, most_distractors(category), style, rng)
                    }
                    Category::Parallel | Category::LiveParallel => {
                        pool.parallel(target, calls_of(category, i), most_distractors(category), style, rng)
                    }
                    Category::ParallelMultiple | Category::LiveParallelMultiple => {
                        pool.step(target, calls_of(category, i), style, rng)
                    }
                })
                .collect();
            let mut function = tool.schema.clone();
            function["training_data"] = traces.iter().map(|trace| self.stored(trace)).collect();
            let line = json!({"id": format!("{category}_{target}"), "function": [function]});
            Record { line, count: traces.len() }
        };
        (0..self.tools.len()).map(record).collect()
    }

    fn stored(&self, trace: &Trace) -> Json {
        let schemas: Vec<&Json> = trace
            .candidates
            .iter()
            .filter_map(|key| self.by_key.get(key.as_str()))
            .map(|tool| &tool.schema)
            .collect();
        json!({"question": trace.question, "candidate_tools": schemas, "answer": trace.answer})
    }

    /// Prompt and answer lines; tools take turns.
    fn entries(&self, category: Category, count: usize) -> Vec<(Json, Json)> {
        let style = style_of(category);
        let pool = self.pool(&self.held_out, style, Order::Tools);
        let rng = &mut draw::stream(self.seed, &format!("{category} entries"));
        let mut turns: Vec<usize> = (0..self.tools.len()).collect();
        turns.shuffle(rng);
        let targets: Vec<usize> = turns.iter().cycle().take(count).copied().collect();
        let mut entries = Vec::with_capacity(count);
        for (i, target) in targets.into_iter().enumerate() {
            let Some((composed, candidates)) = entry(&pool, category, target, i, rng) else { continue };
            let id = format!("{category}_{}", entries.len());
            let functions: Vec<&Json> = candidates.iter().map(|&tool| &self.tools[tool].schema).collect();
            let gold: Vec<Json> = composed.calls.iter().map(|(_, call)| gold(call)).collect();
            entries.push((
                json!({"id": id, "question": [[{"role": "user", "content": composed.text}]], "function": functions}),
                json!({"id": id, "ground_truth": gold}),
            ));
        }
        entries
    }
}

/// A request of a category that calls the target, and its candidates.
fn entry(
    pool: &Pool<'_>,
    category: Category,
    target: usize,
    i: usize,
    rng: &mut Rng,
) -> Option<(Composed, Vec<usize>)> {
    let style = style_of(category);
    if category.is_multi_step() {
        let composed = pool.compose_steps(target, calls_of(category, i), style, rng)?;
        let mut candidates: Vec<usize> = composed.calls.iter().map(|(tool, _)| *tool).collect();
        candidates.shuffle(rng);
        return Some((composed, candidates));
    }
    if category.is_parallel() {
        let composed = pool.compose_parallel(target, calls_of(category, i), style, rng)?;
        return Some((composed, pool.candidates(target, 0..=most_distractors(category), rng)));
    }
    let pairs = &pool.atomics[target];
    let atomic = pairs.get(rng.random_range(0..pairs.len().max(1)))?;
    let text = compose::merge(&[&atomic.sentence], style, rng);
    let composed = Composed { text, calls: vec![(target, atomic.call.clone())] };
    Some((composed, pool.candidates(target, 1..=most_distractors(category), rng)))
}

fn style_of(category: Category) -> Style {
    if category.is_live() { Style::Casual } else { Style::Plain }
}

/// Candidates that a request does not call.
fn most_distractors(category: Category) -> usize {
    match category {
        Category::Multiple => 3,
        Category::LiveMultiple => 5,
        Category::LiveParallel => 1,
        Category::Parallel | Category::ParallelMultiple | Category::LiveParallelMultiple => 0,
    }
}

/// Calls of the `i`-th request for several, in about BFCL's shares: who types casually rarely asks for more than two things.
fn calls_of(category: Category, i: usize) -> usize {
    match category.is_live() {
        true => [2, 2, 2, 3, 2, 2, 2, 2, 2, 4, 2, 2][i % 12],
        false => [2, 3, 2, 2, 4, 2, 3][i % 7],
    }
}

/// A call as BFCL writes a gold answer: each value is the only acceptable one, parameters not given must not be.
fn gold(call: &Call) -> Json {
    let given: serde_json::Map<String, Json> =
        call.args.iter().map(|(name, value)| (name.clone(), json!([plain_json(value)]))).collect();
    json!({ call.name.as_str(): given })
}

/// A drawn value as JSON.
fn plain_json(value: &Value) -> Json {
    match value {
        Value::Bool(b) => json!(b),
        Value::Int(i) => i.to_string().parse::<i64>().map_or(Json::Null, Json::from),
        Value::Float(x) => json!(x),
        Value::Str(text) => json!(text),
        Value::List(items) | Value::Tuple(items) => items.iter().map(plain_json).collect(),
        Value::Dict(pairs) => pairs
            .iter()
            .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), json!([plain_json(value)]))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::None | Value::Ellipsis | Value::Complex(..) | Value::Bytes(_) => Json::Null,
    }
}
