//! From a manifest's dataset to what training and evaluation read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use jobs_spec::category::Category;
use jobs_spec::manifest::{Bfcl, Dataset, Records};

use crate::error::{DataError, Problem};
use crate::records::{self, RecordTrace, Target};
use crate::set::{EntrySet, TrainingSet};
use crate::synthesis::{self, Source};
use crate::tool::{Tool, parameters_key};
use crate::trace::Trace;
use crate::{bfcl, marks, validate};

/// A dataset, ready to be planned.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// All tools and traces.
    pub training: TrainingSet,
    /// Held-out entries of each category that has some.
    pub entries: BTreeMap<Category, EntrySet>,
    /// What was counted and what was left out, a line each, for people.
    pub notes: Vec<String>,
}

/// Reads a dataset; paths in it are relative to `root`. Equal files give equal results.
///
/// # Errors
/// A missing file, or the first line that breaks its format.
pub fn prepare(dataset: &Dataset, root: &Path) -> Result<Prepared, DataError> {
    match dataset {
        Dataset::Records(records) => from_records(records, &root.join(&records.path)),
        Dataset::Bfcl(files) => from_bfcl(files, &root.join(&files.path)),
    }
}

/// Tools and traces in order of first appearance, each once.
#[derive(Default)]
struct Collected {
    keys: HashSet<String>,
    tools: Vec<Tool>,
    seen: HashSet<Trace>,
    traces: Vec<Trace>,
    repeated: usize,
}

impl Collected {
    fn tool(&mut self, tool: &Tool) {
        if self.keys.insert(tool.key.clone()) {
            self.tools.push(tool.clone());
        }
    }

    fn trace(&mut self, trace: Trace) {
        if self.seen.insert(trace.clone()) {
            self.traces.push(trace);
        } else {
            self.repeated += 1;
        }
    }

    fn finish(self) -> TrainingSet {
        TrainingSet { tools: self.tools, traces: self.traces }
    }
}

fn from_records(dataset: &Records, dir: &Path) -> Result<Prepared, DataError> {
    let mut collected = Collected::default();
    let mut entries = BTreeMap::new();
    let mut notes = Vec::new();
    let mut without_candidates = 0;
    let named = dataset.categories.as_deref();
    let mut found = false;
    for &category in named.unwrap_or(&Category::ALL) {
        let path = dir.join(format!("{category}.jsonl"));
        if named.is_none() && !path.exists() {
            continue;
        }
        found = true;
        records::read(&path, |record| {
            for (number, held) in record.tools.into_iter().enumerate() {
                collected.tool(&held.tool);
                without_candidates += held.without_candidates;
                for (place, trace) in held.traces.into_iter().enumerate() {
                    trace.candidates.iter().for_each(|tool| collected.tool(tool));
                    let field = || format!("function[{number}].training_data[{place}]");
                    let trace = accept(category, &held.tool, trace);
                    collected.trace(trace.map_err(|problem| problem.under(&field()))?);
                }
            }
            Ok(())
        })?;
        let files = dir.join("entries");
        if files.join(bfcl::file_name(category)).exists() {
            let set = bfcl::read(&files, category)?;
            set.entries.iter().flat_map(|entry| &entry.candidates).for_each(|tool| collected.tool(tool));
            notes.push(count_category(&set));
            entries.insert(category, set);
        }
    }
    if !found {
        return Err(DataError::NoRecords { path: dir.to_owned() });
    }
    let dropped =
        [(without_candidates, "traces without candidates"), (collected.repeated, "repeated traces")];
    let training = collected.finish();
    notes.extend(count_all(&training));
    notes.extend(dropped.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("dropped: {n} {what}")));
    Ok(Prepared { training, entries, notes })
}

/// A stored trace as ours: the tool is found among the candidates by key, the answer calls it first, and every call is valid.
fn accept(category: Category, tool: &Tool, stored: RecordTrace) -> Result<Trace, Problem> {
    let Target::Calls(answer) = stored.target else {
        return Err(Problem::new("answer", format!("`{category}` takes calls, not thought and action")));
    };
    let broken = |what: String| Problem::new("answer", what);
    if !stored.candidates.iter().any(|candidate| candidate.key == tool.key) {
        return Err(Problem::new("candidate_tools", format!("`{}` itself is not among them", tool.name)));
    }
    let (text, mark) = marks::split(&answer);
    if category.is_multi_step() != mark.is_some() {
        let what = if mark.is_some() { "has a status mark" } else { "has no status mark" };
        return Err(broken(format!("{what}, which does not suit `{category}`")));
    }
    let named = |name: &str| {
        let mut candidates = std::iter::once(tool).chain(&stored.candidates);
        candidates.find(|candidate| candidate.name == name)
    };
    let calls = validate::answer(text, named).map_err(|e| broken(e.to_string()))?;
    if calls.first().is_none_or(|call| call.name != tool.name) {
        return Err(broken(format!("does not call `{}` first", tool.name)));
    }
    Ok(Trace {
        category,
        tool: tool.key.clone(),
        question: stored.question,
        candidates: stored.candidates.into_iter().map(|candidate| candidate.key).collect(),
        answer,
    })
}

fn from_bfcl(dataset: &Bfcl, dir: &Path) -> Result<Prepared, DataError> {
    let mut collected = Collected::default();
    let mut entries = BTreeMap::new();
    let mut notes = Vec::new();
    let mut live = HashMap::new();
    for &category in &dataset.categories {
        let set = bfcl::read(dir, category)?;
        for tool in set.entries.iter().flat_map(|entry| &entry.candidates) {
            collected.tool(tool);
            live.entry(tool.key.clone()).or_insert(category.is_live());
        }
        notes.push(count_category(&set));
        entries.insert(category, set);
    }
    notes.push(format!("{} distinct tools by whole document in all", collected.tools.len()));
    let mut tools = collected.finish().tools;
    if let Some(limit) = dataset.tools.filter(|limit| *limit < tools.len()) {
        tools.truncate(limit);
        let kept: HashSet<&str> = tools.iter().map(|tool| tool.key.as_str()).collect();
        for set in entries.values_mut() {
            set.entries.retain(|entry| entry.candidates.iter().all(|tool| kept.contains(tool.key.as_str())));
        }
        entries.retain(|_, set| !set.entries.is_empty());
        let left: usize = entries.values().map(|set| set.entries.len()).sum();
        notes.push(format!("kept: the first {limit} tools and the {left} entries that need no other"));
    }
    let sources: Vec<Source> = tools
        .into_iter()
        .map(|tool| {
            let is_live = live.get(&tool.key).copied().unwrap_or(false);
            Source::of(tool, is_live)
        })
        .collect();
    let made = synthesis::synthesise(&sources, &dataset.synthesis);
    let tools = sources.into_iter().map(|source| source.tool).collect();
    let training = TrainingSet { tools, traces: made.traces };
    notes.extend(count_all(&training));
    if made.missing > 0 {
        notes.push(format!(
            "not made: {} traces of tools that have too few distinct calls or neighbours",
            made.missing
        ));
    }
    Ok(Prepared { training, entries, notes })
}

fn count_category(set: &EntrySet) -> String {
    let candidates = || set.entries.iter().flat_map(|entry| &entry.candidates);
    let parameters: BTreeSet<String> = candidates().map(|tool| parameters_key(&tool.schema)).collect();
    let documents: BTreeSet<&str> = candidates().map(|tool| tool.key.as_str()).collect();
    format!(
        "{}: {} entries, {} tools by parameters, {} by whole document",
        set.category,
        set.entries.len(),
        parameters.len(),
        documents.len()
    )
}

fn count_all(training: &TrainingSet) -> Vec<String> {
    let trained: BTreeSet<&str> = training.traces.iter().map(|trace| trace.tool.as_str()).collect();
    vec![format!("{} traces of {} tools", training.traces.len(), trained.len())]
}
