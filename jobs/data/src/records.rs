//! ParaTool's records: `<category>.jsonl`, one object a line, tools with their traces inside.

use std::path::Path;

use serde_json::Value;

use crate::error::{DataError, Problem};
use crate::tool::Tool;
use crate::{lines, question};

/// One line: the candidate tools of a benchmark entry, each with its traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Tools in the record's order.
    pub tools: Vec<RecordTool>,
}

/// A tool of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordTool {
    /// Its schema.
    pub tool: Tool,
    /// Traces whose next call is this tool; empty where the record has none.
    pub traces: Vec<RecordTrace>,
    /// Traces left out because they name no candidates, as the format says.
    pub without_candidates: usize,
}

/// A stored trace.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordTrace {
    /// The request as one text.
    pub question: String,
    /// Candidate tools in prompt order.
    pub candidates: Vec<Tool>,
    /// What the model is to write.
    pub target: Target,
}

/// What the model is to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Python calls, with a status mark in multi-step categories (BFCL).
    Calls(String),
    /// One step of thought and action (StableToolBench).
    Step {
        /// The full text, `Thought: …` to `End Action`.
        text: String,
        /// Name of the called function.
        action: String,
    },
}

/// Reads a record file, validated line by line, and hands each record over before the next is read: together they hold each tool once
/// for every trace that mentions it.
///
/// # Errors
/// A file that cannot be read, the first field that breaks the format, or what `take` finds.
pub fn read(path: &Path, mut take: impl FnMut(Record) -> Result<(), Problem>) -> Result<(), DataError> {
    lines::read(path, |_, line| take(Record::parse(&line)?))
}

impl Record {
    /// A record from its line.
    ///
    /// # Errors
    /// The field that breaks the format.
    pub fn parse(line: &Value) -> Result<Self, Problem> {
        let tools = each(line, "function", RecordTool::parse)?;
        Ok(Self { tools })
    }
}

impl RecordTool {
    fn parse(document: &Value) -> Result<Self, Problem> {
        let traces = match document.get("training_data") {
            None | Some(Value::Null) => Vec::new(),
            Some(_) => each(document, "training_data", RecordTrace::parse)?,
        };
        let all = traces.len();
        let traces: Vec<_> = traces.into_iter().flatten().collect();
        Ok(Self { tool: Tool::of(document)?, without_candidates: all - traces.len(), traces })
    }
}

impl RecordTrace {
    /// `None` for a trace without candidates.
    fn parse(trace: &Value) -> Result<Option<Self>, Problem> {
        match trace.get("candidate_tools") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(tools)) if tools.is_empty() => return Ok(None),
            Some(_) => {}
        }
        Ok(Some(Self {
            question: question::normalise(trace.get("question").unwrap_or(&Value::Null))?,
            candidates: each(trace, "candidate_tools", Tool::of)?,
            target: Target::parse(trace)?,
        }))
    }
}

impl Target {
    fn parse(trace: &Value) -> Result<Self, Problem> {
        if trace.get("answer").is_some() {
            return Ok(Self::Calls(lines::text(trace, "answer")?.to_owned()));
        }
        if trace.get("action").is_none() {
            return Err(Problem::new("answer", "missing"));
        }
        let action = lines::text(trace, "action")?.to_owned();
        let raw = ["raw_react_full", "raw_react"].into_iter().find_map(|field| {
            trace.get(field).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
        });
        let text = match raw {
            Some(text) => text.to_owned(),
            None => {
                let thought = lines::text(trace, "thought")?;
                let input = match trace.get("input") {
                    Some(Value::String(text)) => text.clone(),
                    Some(object @ Value::Object(_)) => object.to_string(),
                    _ => return Err(Problem::new("input", "expected a string or an object")),
                };
                format!("Thought: {thought}\nAction: {action}\nAction Input: {input}")
            }
        };
        Ok(Self::Step { text: ended(text), action })
    }
}

/// The text with its end line, added where it is missing.
fn ended(text: String) -> String {
    const END: &str = "End Action";
    let text = text.trim_end();
    if text.ends_with(END) { text.to_owned() } else { format!("{text}\n{END}") }
}

/// Parses every item of a list field; a problem names the item.
fn each<T>(
    object: &Value,
    field: &str,
    parse: impl Fn(&Value) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    lines::list(object, field)?
        .iter()
        .enumerate()
        .map(|(i, item)| parse(item).map_err(|problem| problem.under(&format!("{field}[{i}]"))))
        .collect()
}
