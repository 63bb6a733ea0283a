//! Outputs as JSON lines: part of the artifact, and the checkpoint of an evaluation.

use std::path::Path;

use jobs_spec::category::Category;
use serde::{Deserialize, Serialize};

use crate::{Failure, tensors};

const FILE: &str = "outputs.jsonl";

/// What a variant answered to one entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The entry's id.
    pub id: String,
    /// Its category.
    pub category: Category,
    /// The text that the checker reads.
    pub model_output: String,
    /// Seed of the run.
    pub seed: u64,
}

/// Writes the outputs so far into a folder.
pub(super) fn write(folder: &Path, outputs: &[Output]) -> Result<(), Failure> {
    let lines = outputs.iter().map(|output| serde_json::to_string(output).map(|line| line + "\n"));
    let lines = lines.collect::<Result<String, _>>().map_err(Failure::data)?;
    tensors::replace(&folder.join(FILE), lines.as_bytes())
}

/// Reads what [`write`] wrote.
pub(super) fn read(folder: &Path) -> Result<Vec<Output>, Failure> {
    let file = folder.join(FILE);
    let text = std::fs::read_to_string(&file);
    let text = text.map_err(|cause| Failure::Storage(format!("{}: {cause}", file.display())))?;
    let line = |(i, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|cause| Failure::Data(format!("{}:{}: {cause}", file.display(), i + 1)))
    };
    text.lines().enumerate().map(line).collect()
}

/// Refuses outputs that are not the first answers of a plan of (seed, entry id).
pub(super) fn check(outputs: &[Output], plan: &[(u64, &str)]) -> Result<(), Failure> {
    let fits = |(output, (seed, id)): (&Output, &(u64, &str))| output.seed == *seed && output.id == *id;
    if outputs.len() > plan.len() || !outputs.iter().zip(plan).all(fits) {
        return Err(Failure::Data(format!("{FILE}: the checkpoint is not of this evaluation")));
    }
    Ok(())
}
