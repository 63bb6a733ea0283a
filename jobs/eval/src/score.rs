//! Verdicts over a file of model outputs, and the accuracies that follow from them.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::bfcl::{Category, CheckError, DataError, Entry, EntryId, judge, read_category};

/// Right and judged outputs of one category.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// outputs judged right
    pub correct: u64,
    /// outputs judged
    pub total: u64,
}

/// The result of scoring.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// per category that occurs: counts
    pub categories: BTreeMap<Category, Tally>,
    /// plain mean of the categories' accuracies, 0 to 1; `None` without any output
    pub unweighted: Option<f64>,
    /// right outputs of all categories over judged ones, 0 to 1; `None` without any output
    pub weighted: Option<f64>,
}

/// One line of the scored output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// entry answered
    pub id: EntryId,
    /// its category
    pub category: Category,
    /// whether the output is right
    pub verdict: bool,
    /// the official error type when it is not
    pub error_type: Option<String>,
}

/// Why outputs could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// The data set could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A line of the outputs breaks the format.
    #[error("{file}:{line}: {field}: {problem}")]
    Line {
        /// name of the outputs
        file: String,
        /// line number, from 1
        line: usize,
        /// the field at fault
        field: &'static str,
        /// what is wrong with it
        problem: String,
    },
    /// Outputs could not be read.
    #[error("{file}: {source}")]
    Read {
        /// name of the outputs
        file: String,
        /// what the system said
        source: io::Error,
    },
    /// Verdicts could not be written.
    #[error("writing verdicts: {0}")]
    Write(#[source] io::Error),
}

impl Tally {
    /// Right over judged, 0 to 1; `None` when nothing was judged.
    pub fn accuracy(self) -> Option<f64> {
        ratio(self.correct, self.total)
    }

    /// Counts one output.
    pub fn add(&mut self, correct: bool) {
        self.correct += u64::from(correct);
        self.total += 1;
    }
}

fn ratio(correct: u64, total: u64) -> Option<f64> {
    // Counts of outputs stay far below 2^53.
    if total == 0 { None } else { Some(correct as f64 / total as f64) }
}

impl Summary {
    /// Averages over categories; those without outputs are left out.
    pub fn new(categories: BTreeMap<Category, Tally>) -> Self {
        let accuracies: Vec<f64> = categories.values().filter_map(|tally| tally.accuracy()).collect();
        let unweighted = ratio(1, u64::try_from(accuracies.len()).unwrap_or(u64::MAX))
            .map(|share| accuracies.iter().sum::<f64>() * share);
        let (correct, total) =
            categories.values().fold((0, 0), |(c, t), tally| (c + tally.correct, t + tally.total));
        Self { categories, unweighted, weighted: ratio(correct, total) }
    }
}

/// Judges one output of an entry.
pub fn verdict(entry: &Entry, model_output: &str) -> Verdict {
    let error = judge(entry, model_output).err();
    Verdict {
        id: entry.id.clone(),
        category: entry.category,
        verdict: error.is_none(),
        error_type: error.as_ref().map(CheckError::to_string),
    }
}

/// Judges JSON lines `{id, category, model_output}` against the data set under `prompts`.
///
/// Writes one line `{id, category, verdict, error_type}` for each, in the same order. `file` names the outputs in
/// errors. Blank lines are skipped; an id may occur several times, as with several runs.
///
/// # Errors
/// The first line that is not an object of that form, or that answers no entry; unreadable data; failed writes.
pub fn score_file(
    prompts: &Path,
    file: &str,
    outputs: impl BufRead,
    mut out: impl Write,
) -> Result<Summary, ScoreError> {
    let mut data: HashMap<Category, HashMap<EntryId, Entry>> = HashMap::new();
    let mut categories: BTreeMap<Category, Tally> = BTreeMap::new();
    for (i, line) in outputs.lines().enumerate() {
        let line = line.map_err(|source| ScoreError::Read { file: file.to_owned(), source })?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong =
            |field, problem: String| ScoreError::Line { file: file.to_owned(), line: i + 1, field, problem };
        let json: Json = serde_json::from_str(&line).map_err(|e| wrong("line", format!("not JSON: {e}")))?;
        let text = |field: &'static str| {
            json.get(field).and_then(Json::as_str).ok_or_else(|| wrong(field, "expected a string".to_owned()))
        };
        let id = EntryId(text("id")?.to_owned());
        let category: Category = text("category")?.parse().map_err(|e| wrong("category", format!("{e}")))?;
        let model_output = text("model_output")?;
        let entries = match data.entry(category) {
            Occupied(known) => known.into_mut(),
            Vacant(unread) => {
                let entries = read_category(prompts, category)?;
                unread.insert(entries.into_iter().map(|e| (e.id.clone(), e)).collect())
            }
        };
        let entry = entries.get(&id).ok_or_else(|| wrong("id", format!("{category} has no entry {id}")))?;
        let verdict = verdict(entry, model_output);
        categories.entry(category).or_default().add(verdict.verdict);
        serde_json::to_writer(&mut out, &verdict).map_err(|e| ScoreError::Write(e.into()))?;
        out.write_all(b"\n").map_err(ScoreError::Write)?;
    }
    out.flush().map_err(ScoreError::Write)?;
    Ok(Summary::new(categories))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_plain_and_weighted() {
        let tally = |correct, total| Tally { correct, total };
        let categories = BTreeMap::from([
            (Category::LiveParallel, tally(41, 48)),
            (Category::LiveMultiple, tally(2464, 3159)),
            (Category::LiveParallelMultiple, tally(47, 72)),
            (Category::Parallel, tally(0, 0)),
        ]);
        let summary = Summary::new(categories);
        assert_eq!(format!("{:.2}", summary.unweighted.unwrap() * 100.0), "76.23");
        assert_eq!(format!("{:.2}", summary.weighted.unwrap() * 100.0), "77.83");
        assert_eq!(Summary::new(BTreeMap::new()).unweighted, None);
    }
}
