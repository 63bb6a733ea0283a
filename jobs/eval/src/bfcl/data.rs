//! Reads the published data files, validated line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::gold::{FieldError, FunctionDoc, GoldCall};
use jobs_spec::category::Category;

/// Id of a data-set entry, e.g. `live_multiple_63-25-0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryId(pub String);

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// One message of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `user` or `system`
    pub role: String,
    /// text
    pub content: String,
}

/// One entry: a question, its candidate tools and its gold answer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// the entry's id
    pub id: EntryId,
    /// the category whose files hold it
    pub category: Category,
    /// the messages of the only turn
    pub messages: Vec<Message>,
    /// function docs as published, keys in document order
    pub functions: Vec<Json>,
    /// the typed view of `functions`, in the same order
    pub docs: Vec<FunctionDoc>,
    /// the calls asked for
    pub gold: Vec<GoldCall>,
}

/// Why data files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// the file
        path: PathBuf,
        /// what the system said
        source: io::Error,
    },
    /// A line breaks the format.
    #[error("{}:{line}: {field}: {problem}", path.display())]
    Line {
        /// the file
        path: PathBuf,
        /// line number, from 1
        line: usize,
        /// the field at fault
        field: String,
        /// what is wrong with it
        problem: String,
    },
}

impl Entry {
    /// An entry from the objects of its prompt line and its answer line.
    ///
    /// # Errors
    /// The first field that breaks the format.
    pub fn parse(prompt: Json, answer: &Json, category: Category) -> Result<Self, FieldError> {
        let mut entry = parse_prompt(prompt, category)?;
        entry.gold = parse_answer(answer, &entry)?;
        Ok(entry)
    }

    /// The doc of the function of that name.
    pub fn doc(&self, name: &str) -> Option<&FunctionDoc> {
        self.docs.iter().find(|doc| doc.name == name)
    }
}

/// Reads `BFCL_v4_<category>.json` and `possible_answer/BFCL_v4_<category>.json` under `dir`, in file order.
///
/// # Errors
/// A missing file, or the first line that breaks the format: file, line and field.
pub fn read_category(dir: &Path, category: Category) -> Result<Vec<Entry>, DataError> {
    let name = format!("BFCL_v4_{category}.json");
    let prompts = read_lines(&dir.join(&name))?;
    let answers_path = dir.join("possible_answer").join(&name);
    let answers = read_lines(&answers_path)?;
    let prompts_path = dir.join(&name);
    let mut entries = Vec::with_capacity(prompts.len());
    let mut answers = answers.into_iter();
    for (line, prompt) in prompts {
        let at = |path: &Path, line| {
            let path = path.to_owned();
            move |e: FieldError| DataError::Line { path, line, field: e.field, problem: e.problem.to_owned() }
        };
        let mut entry = parse_prompt(prompt, category).map_err(at(&prompts_path, line))?;
        let Some((answer_line, answer)) = answers.next() else {
            return Err(at(&prompts_path, line)(wrong("id", "no answer for this entry")));
        };
        entry.gold = parse_answer(&answer, &entry).map_err(at(&answers_path, answer_line))?;
        entries.push(entry);
    }
    if let Some((line, _)) = answers.next() {
        let (field, problem) = ("id".to_owned(), "no prompt for this answer".to_owned());
        return Err(DataError::Line { path: answers_path, line, field, problem });
    }
    Ok(entries)
}

fn wrong(field: &str, problem: &'static str) -> FieldError {
    FieldError { field: field.to_owned(), problem }
}

fn parse_prompt(mut json: Json, category: Category) -> Result<Entry, FieldError> {
    let id = json["id"].as_str().ok_or_else(|| wrong("id", "expected a string"))?.to_owned();
    let turns: Vec<Vec<Message>> = serde_json::from_value(json["question"].take())
        .map_err(|_| wrong("question", "expected a list of turns of {role, content}"))?;
    let Ok([messages]) = <[Vec<Message>; 1]>::try_from(turns) else {
        return Err(wrong("question", "expected one turn"));
    };
    let Json::Array(functions) = json["function"].take() else {
        return Err(wrong("function", "expected a list"));
    };
    let docs = functions
        .iter()
        .enumerate()
        .map(|(i, doc)| FunctionDoc::parse(doc, &format!("function[{i}]")))
        .collect::<Result<_, _>>()?;
    Ok(Entry { id: EntryId(id), category, messages, functions, docs, gold: Vec::new() })
}

fn parse_answer(json: &Json, entry: &Entry) -> Result<Vec<GoldCall>, FieldError> {
    if json["id"].as_str() != Some(&entry.id.0) {
        return Err(wrong("id", "differs from the id of the prompt on the same line"));
    }
    let calls = json["ground_truth"].as_array().ok_or_else(|| wrong("ground_truth", "expected a list"))?;
    let mut gold = Vec::with_capacity(calls.len());
    for (i, call) in calls.iter().enumerate() {
        let field = format!("ground_truth[{i}]");
        let call = GoldCall::parse(call, &field)?;
        if entry.doc(&call.name).is_none() {
            return Err(wrong(&field, "calls a function that the prompt does not offer"));
        }
        gold.push(call);
    }
    Ok(gold)
}

/// The JSON objects of a file with their line numbers; blank lines are skipped.
fn read_lines(path: &Path) -> Result<Vec<(usize, Json)>, DataError> {
    let io_error = |source| DataError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let mut out = Vec::new();
    for (i, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(io_error)?;
        if line.trim().is_empty() {
            continue;
        }
        let json: Json = serde_json::from_str(&line).map_err(|e| DataError::Line {
            path: path.to_owned(),
            line: i + 1,
            field: "line".to_owned(),
            problem: format!("not JSON: {e}"),
        })?;
        if !json.is_object() {
            let problem = "expected an object".to_owned();
            return Err(DataError::Line {
                path: path.to_owned(),
                line: i + 1,
                field: "line".to_owned(),
                problem,
            });
        }
        out.push((i + 1, json));
    }
    Ok(out)
}
