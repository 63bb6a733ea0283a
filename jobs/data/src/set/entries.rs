//! Held-out entries of one category.

use std::path::Path;

use jobs_eval::bfcl;
use jobs_spec::category::Category;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::{DataError, Problem};
use crate::lines;
use crate::tool::Tool;

const ENTRIES: &str = "entries.jsonl";

/// The entries of one category, in the benchmark's order.
#[derive(Clone, Debug, PartialEq)]
pub struct EntrySet {
    /// The category.
    pub category: Category,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// One request with its candidate tools and its gold answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The benchmark's id.
    pub id: String,
    /// The request as one text, a system message in front.
    pub question: String,
    /// Candidate tools in the entry's order, their documents as published.
    pub candidates: Vec<Tool>,
    /// Gold calls in BFCL's form: `[{name: {parameter: [acceptable values]}}]`.
    pub ground_truth: Value,
}

#[derive(Serialize)]
struct EntryLine<'a> {
    id: &'a str,
    category: Category,
    question: &'a str,
    candidates: Vec<&'a Value>,
    ground_truth: &'a Value,
}

impl EntrySet {
    /// The set as files, name and bytes: `entries.jsonl`. Equal sets give equal bytes.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let lines = self.entries.iter().map(|entry| EntryLine {
            id: &entry.id,
            category: self.category,
            question: &entry.question,
            candidates: entry.candidates.iter().map(|tool| &tool.schema).collect(),
            ground_truth: &entry.ground_truth,
        });
        vec![(ENTRIES.to_owned(), lines::write(lines))]
    }

    /// Reads the files of [`Self::files`] from a folder.
    ///
    /// # Errors
    /// A missing or empty file, or the first line that breaks the format or belongs to another category than the first.
    pub fn read(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join(ENTRIES);
        let mut set: Option<Self> = None;
        lines::read(&path, |_, line| {
            let category = lines::text(&line, "category")?
                .parse()
                .map_err(|e| Problem::new("category", format!("{e}")))?;
            let set = set.get_or_insert_with(|| Self { category, entries: Vec::new() });
            if set.category != category {
                return Err(Problem::new("category", format!("the first line is of {}", set.category)));
            }
            set.entries.push(Entry::parse(&line)?);
            Ok(())
        })?;
        set.ok_or(DataError::Empty { path })
    }
}

impl Entry {
    /// The entry as the official checker takes it.
    ///
    /// # Errors
    /// Documents or gold calls that break BFCL's format.
    pub fn official(&self, category: Category) -> Result<bfcl::Entry, Problem> {
        let functions: Vec<&Value> = self.candidates.iter().map(|tool| &tool.schema).collect();
        let question = json!([[{"role": "user", "content": self.question}]]);
        let prompt = json!({"id": self.id, "question": question, "function": functions});
        let answer = json!({"id": self.id, "ground_truth": self.ground_truth});
        bfcl::Entry::parse(prompt, &answer, category).map_err(|e| Problem::new(e.field, e.problem))
    }

    fn parse(line: &Value) -> Result<Self, Problem> {
        let candidates = lines::list(line, "candidates")?
            .iter()
            .enumerate()
            .map(|(i, schema)| Tool::of(schema).map_err(|problem| problem.under(&format!("candidates[{i}]"))))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            id: lines::text(line, "id")?.to_owned(),
            question: lines::text(line, "question")?.to_owned(),
            candidates,
            ground_truth: Value::Array(lines::list(line, "ground_truth")?.to_vec()),
        })
    }
}
