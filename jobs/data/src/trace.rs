//! Traces: training examples whose next call is one tool.

use jobs_spec::category::Category;
use serde::Serialize;
use serde_json::Value;

use crate::error::Problem;
use crate::lines;

/// One training example. Its next call is `tool`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Trace {
    /// Which kind of entry it prepares for.
    pub category: Category,
    /// Key of the called tool.
    pub tool: String,
    /// The request as one text; the history of earlier calls is already inside.
    pub question: String,
    /// Keys of the candidate tools in prompt order, the called one among them.
    pub candidates: Vec<String>,
    /// The target: `[f(a=1, b='x')]`, in multi-step categories followed by a status mark.
    pub answer: String,
}

impl Trace {
    /// A trace from its line in `traces.jsonl`.
    pub(crate) fn parse(line: &Value) -> Result<Self, Problem> {
        let category = lines::text(line, "category")?;
        let candidates = lines::list(line, "candidates")?
            .iter()
            .map(|key| key.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Problem::new("candidates", "expected a list of tool keys"))?;
        Ok(Self {
            category: category.parse().map_err(|e| Problem::new("category", format!("{e}")))?,
            tool: lines::text(line, "tool")?.to_owned(),
            question: lines::text(line, "question")?.to_owned(),
            candidates,
            answer: lines::text(line, "answer")?.to_owned(),
        })
    }
}
