//! A dataset as the planner sees it: artifacts, and how much work they are.

use std::collections::{BTreeMap, HashMap};

use jobs_data::set::{EntrySet, TrainingSet};
use jobs_data::trace::Trace;
use jobs_spec::category::Category;
use proto::id::Digest;

/// Bytes of prompt text that a token stands for, roughly; estimates only order jobs and feed the ETA.
const BYTES_PER_TOKEN: u64 = 4;

/// A prepared dataset whose parts have digests.
#[derive(Debug)]
pub(super) struct Data {
    /// Tools and traces.
    pub(super) training: Digest,
    /// The tools that have traces, in the dataset's order.
    pub(super) tools: Vec<Tool>,
    /// Held-out entries.
    pub(super) entries: BTreeMap<Category, Entries>,
}

/// A tool with traces.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) key: String,
    pub(super) name: String,
    /// Its traces with every tool that they mention.
    pub(super) traces: Digest,
    pub(super) work: Work,
    /// Whether it is the first tool with a trace of some category.
    pub(super) coverage: bool,
}

/// The held-out entries of one category.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) set: Digest,
    pub(super) count: usize,
    pub(super) work: Work,
}

/// Some samples and their estimated tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// How many there are.
    pub(super) samples: u64,
    /// Requests and answers.
    pub(super) plain: u64,
    /// The candidates' documents.
    pub(super) documents: u64,
    /// The longest of them, without documents and with.
    longest: [u64; 2],
}

impl Work {
    /// With the documents in the prompt or without.
    pub(super) fn prompts(self, documents: bool) -> u64 {
        self.plain + if documents { self.documents } else { 0 }
    }

    /// Tokens of the longest prompt with its answer.
    pub(super) fn longest(self, documents: bool) -> u64 {
        self.longest[usize::from(documents)]
    }

    fn add(&mut self, plain_bytes: usize, document_bytes: usize) {
        let (plain, documents) =
            (plain_bytes as u64 / BYTES_PER_TOKEN + 1, document_bytes as u64 / BYTES_PER_TOKEN);
        self.samples += 1;
        self.plain += plain;
        self.documents += documents;
        self.longest = [self.longest[0].max(plain), self.longest[1].max(plain + documents)];
    }
}

/// How long the documents of a set's tools are, by the tools' keys.
pub(super) fn document_bytes(set: &TrainingSet) -> HashMap<&str, usize> {
    set.tools.iter().map(|tool| (tool.key.as_str(), tool.schema.to_string().len())).collect()
}

/// The work of learning from a set's traces once, given how long documents are.
pub(super) fn work_of_traces(set: &TrainingSet, document_bytes: &HashMap<&str, usize>) -> Work {
    let mut work = Work::default();
    for Trace { question, candidates, answer, .. } in &set.traces {
        let documents = candidates.iter().filter_map(|key| document_bytes.get(key.as_str())).sum();
        work.add(question.len() + answer.len(), documents);
    }
    work
}

/// The work of scoring one category's entries once; an answer is as long as its request.
pub(super) fn work_of_entries(set: &EntrySet) -> Work {
    let mut work = Work::default();
    for entry in &set.entries {
        let documents = entry.candidates.iter().map(|tool| tool.schema.to_string().len()).sum();
        work.add(2 * entry.question.len(), documents);
    }
    work
}
