//! BFCL's own files as entries.

use std::path::Path;

use jobs_eval::bfcl;
use jobs_spec::category::Category;
use serde_json::Value;

use crate::error::{DataError, Problem};
use crate::lines;
use crate::set::{Entry, EntrySet};
use crate::tool::Tool;

/// Reads `BFCL_v4_<category>.json` and its possible answers under a folder.
///
/// # Errors
/// A missing file, or the first line that breaks the format.
pub fn read(dir: &Path, category: Category) -> Result<EntrySet, DataError> {
    let mut read = bfcl::read_category(dir, category)?.into_iter();
    let path = dir.join("possible_answer").join(file_name(category));
    let mut entries = Vec::with_capacity(read.len());
    lines::read(&path, |_, answer| {
        let Some(entry) = read.next() else { return Ok(()) };
        entries.push(convert(entry, answer)?);
        Ok(())
    })?;
    Ok(EntrySet { category, entries })
}

/// The name of a category's file.
pub fn file_name(category: Category) -> String {
    format!("BFCL_v4_{category}.json")
}

fn convert(entry: bfcl::Entry, mut answer: Value) -> Result<Entry, Problem> {
    let contents: Vec<&str> = entry.messages.iter().map(|message| message.content.as_str()).collect();
    let question = contents.join("\n");
    let candidates = entry.functions.into_iter().map(Tool::new).collect::<Result<_, _>>()?;
    Ok(Entry { id: entry.id.0, question, candidates, ground_truth: answer["ground_truth"].take() })
}
