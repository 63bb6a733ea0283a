//! Tools and their traces.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::error::{DataError, Problem};
use crate::lines;
use crate::tool::Tool;
use crate::trace::Trace;

const TOOLS: &str = "tools.jsonl";
const TRACES: &str = "traces.jsonl";

/// Tools with the traces that train their adapters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainingSet {
    /// All tools, called or only offered, each once, in order of first appearance.
    pub tools: Vec<Tool>,
    /// All traces; their tool and candidates are among `tools`.
    pub traces: Vec<Trace>,
}

#[derive(Serialize)]
struct ToolLine<'a> {
    key: &'a str,
    schema: &'a Value,
}

impl TrainingSet {
    /// The set as files, name and bytes: `tools.jsonl` and `traces.jsonl`. Equal sets give equal bytes.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let tools = self.tools.iter().map(|tool| ToolLine { key: &tool.key, schema: &tool.schema });
        vec![(TOOLS.to_owned(), lines::write(tools)), (TRACES.to_owned(), lines::write(&self.traces))]
    }

    /// Reads the files of [`Self::files`] from a folder.
    ///
    /// # Errors
    /// A missing file, or the first line that breaks the format, names an unknown tool or holds a wrong key.
    pub fn read(dir: &Path) -> Result<Self, DataError> {
        let mut set = Self::default();
        let mut keys = HashSet::new();
        lines::read(&dir.join(TOOLS), |_, line| {
            let schema = line.get("schema").cloned().unwrap_or_default();
            let tool = Tool::new(schema).map_err(|problem| problem.under("schema"))?;
            if lines::text(&line, "key")? != tool.key {
                return Err(Problem::new("key", format!("the schema's key is {}", tool.key)));
            }
            if !keys.insert(tool.key.clone()) {
                return Err(Problem::new("key", "this tool is listed twice"));
            }
            set.tools.push(tool);
            Ok(())
        })?;
        lines::read(&dir.join(TRACES), |_, line| {
            let trace = Trace::parse(&line)?;
            if !trace.candidates.contains(&trace.tool) {
                return Err(Problem::new("candidates", "the called tool is not among them"));
            }
            if let Some(unknown) = trace.candidates.iter().find(|key| !keys.contains(*key)) {
                return Err(Problem::new("candidates", format!("{unknown} is not in {TOOLS}")));
            }
            set.traces.push(trace);
            Ok(())
        })?;
        Ok(set)
    }

    /// The tool with that key.
    pub fn tool(&self, key: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.key == key)
    }

    /// The traces that call a tool.
    pub fn traces_of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Trace> {
        self.traces.iter().filter(move |trace| trace.tool == key)
    }

    /// What one tool's pretraining reads: its traces and every tool that they mention, in this set's order.
    pub fn for_tool(&self, key: &str) -> Self {
        self.with_traces(&self.places(), key, self.traces_of(key).cloned().collect())
    }

    /// [`Self::for_tool`] of every tool that has traces, in this set's order, in one pass over the traces.
    pub fn by_tool(&self) -> impl Iterator<Item = (&Tool, Self)> {
        let mut traces: HashMap<&str, Vec<Trace>> = HashMap::new();
        for trace in &self.traces {
            traces.entry(&trace.tool).or_default().push(trace.clone());
        }
        let places = self.places();
        self.tools.iter().filter_map(move |tool| {
            let own = traces.remove(tool.key.as_str())?;
            Some((tool, self.with_traces(&places, &tool.key, own)))
        })
    }

    /// Where each tool stands in this set.
    fn places(&self) -> HashMap<&str, usize> {
        self.tools.iter().enumerate().map(|(place, tool)| (tool.key.as_str(), place)).collect()
    }

    fn with_traces(&self, places: &HashMap<&str, usize>, key: &str, traces: Vec<Trace>) -> Self {
        let candidates = traces.iter().flat_map(|trace| &trace.candidates).map(String::as_str);
        let mentioned: BTreeSet<_> = candidates.chain([key]).filter_map(|key| places.get(key)).collect();
        let tools = mentioned.into_iter().filter_map(|place| self.tools.get(*place)).cloned().collect();
        Self { tools, traces }
    }
}
