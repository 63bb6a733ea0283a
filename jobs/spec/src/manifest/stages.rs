//! Settings of the training stages. Defaults are the paper's (BFCL column) unless a doc comment says otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::category::Category;

/// Settings of the training stages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stages {
    /// How prompts and targets are built, in every stage.
    pub prompt: Prompt,
    /// Frozen encoding of contexts and tool documents.
    pub embed: Embed,
    /// One adapter per tool.
    pub pretrain: Pretrain,
    /// The gate.
    pub gate: Gate,
    /// Joint finetuning of the adapters under the gate.
    pub finetune: Finetune,
}

/// How prompts and targets are built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prompt {
    /// What the document-free prompt tells of each candidate.
    pub document_free: DocumentFree,
    /// Longest sample in tokens. A longer one is dropped and counted.
    pub max_tokens: usize,
    /// Append the chat template's end of turn to every target (ours) or only where the original does.
    pub end_of_turn: bool,
    /// Wording: the paper's parts in full, or a few words for small models.
    pub style: PromptStyle,
}

impl Default for Prompt {
    fn default() -> Self {
        Self {
            document_free: DocumentFree::Names,
            max_tokens: 8_000,
            end_of_turn: true,
            style: PromptStyle::Full,
        }
    }
}

/// What the document-free prompt tells of each candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentFree {
    /// Function names only, as the published code does.
    Names,
    /// Names with parameter names, as the paper's text claims.
    Signatures,
    /// Nothing at all: the tools live in parameters.
    Nothing,
}

/// Wording of the system message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptStyle {
    /// Role, task, names, rules, documents, multi-step hint.
    Full,
    /// Only names or documents, for models of a few million parameters.
    Terse,
}

/// The encoder of contexts and documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embed {
    /// Which model encodes.
    pub q_encoder: QueryEncoder,
    /// Which vectors of the base's tokens.
    pub layer: Layer,
    /// How token vectors become one.
    pub pooling: Pooling,
}

impl Default for Embed {
    fn default() -> Self {
        Self { q_encoder: QueryEncoder::Base, layer: Layer::Last, pooling: Pooling::Mean }
    }
}

/// Which model encodes contexts and documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryEncoder {
    /// The frozen base model without adapters.
    Base,
    /// A BERT encoder in Hugging Face layout (the paper's `bge`), relative to the manifest.
    Bge(PathBuf),
}

/// Which vectors of the base's tokens are pooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Hidden rows after the last block and the final norm.
    Last,
    /// Token embeddings, each scaled to a root mean square of 1: a bag of words, without a pass.
    First,
}

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over all tokens.
    Mean,
    /// The last token.
    Last,
    /// Mean over the question's tokens and mean over the history's, one behind the other: a short history does not drown.
    Parts,
}

/// Stage 1: one adapter per tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pretrain {
    /// Rank of every adapter.
    pub rank: usize,
    /// Scale is `alpha / rank`.
    pub alpha: f64,
    /// Passes over the tool's samples.
    pub epochs: usize,
    /// Constant learning rate.
    pub lr: f64,
    /// Decoupled weight decay on A and B.
    pub weight_decay: f64,
    /// Use each trace both with documents and without (the paper) or only without.
    pub with_documents: bool,
    /// Adapters trained together on one device.
    pub slots: usize,
    /// Token budget of one shared pass.
    pub tokens_per_pass: usize,
    /// Share of the adapters without which nothing that reads them all begins. The rest may fail and is waived.
    pub required: f64,
}

impl Pretrain {
    /// How many of some adapters may be missing.
    pub fn may_miss(&self, adapters: usize) -> usize {
        // 0.9 of 10 is 9, though 0.9 · 10 may lie a hair above.
        let needed = (self.required * adapters as f64 - 1e-9).ceil().max(0.0) as usize;
        adapters.saturating_sub(needed)
    }
}

impl Default for Pretrain {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 64.0,
            epochs: 3,
            lr: 1e-4,
            weight_decay: 0.01,
            with_documents: true,
            slots: 16,
            tokens_per_pass: 4_096,
            required: 1.0,
        }
    }
}

/// Stage 2: the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// Width of the two hidden layers.
    pub hidden: usize,
    /// Passes over the training contexts.
    pub epochs: usize,
    /// Constant learning rate.
    pub lr: f64,
    /// Contexts a step.
    pub batch: usize,
    /// Weight of the entropy bonus.
    pub lambda: f64,
    /// Other weights of the entropy bonus, by category.
    pub lambda_by_category: BTreeMap<Category, f64>,
    /// Divide λ by ln(number of candidates), so that softness does not depend on it.
    pub lambda_per_log_candidates: bool,
    /// Tools drawn to stand beside the only candidate of a trace; without any, such a trace teaches nothing.
    pub distractors: usize,
    /// What stands for a tool: its encoded document (paper) or a learned row (published code).
    pub tool_vector: ToolVector,
    /// Share of training traces held out to pick the best epoch.
    pub held_out: f64,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            hidden: 512,
            epochs: 3,
            lr: 5e-4,
            batch: 64,
            lambda: 0.6,
            lambda_by_category: BTreeMap::from([
                (Category::LiveMultiple, 0.4),
                (Category::LiveParallelMultiple, 0.4),
            ]),
            lambda_per_log_candidates: false,
            distractors: 0,
            tool_vector: ToolVector::Document,
            held_out: 0.2,
        }
    }
}

/// What stands for a tool in the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolVector {
    /// The encoded document: a new tool is routable without retraining the gate.
    Document,
    /// A row of a learned table, N(0, 0.02²).
    Learned,
}

/// Stage 3: joint finetuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Finetune {
    /// Passes over all traces.
    pub epochs: usize,
    /// Constant learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Traces a step, over all ranks.
    pub batch: usize,
    /// Who learns from a trace: every candidate with a weight above zero (paper) or the gold one (published code's default).
    pub learners: Learners,
    /// Order of the traces: shuffled by seed, or record by record as the published code does.
    pub order: FinetuneOrder,
}

impl Default for Finetune {
    fn default() -> Self {
        Self {
            epochs: 1,
            lr: 1e-4,
            weight_decay: 0.01,
            batch: 8,
            learners: Learners::All,
            order: FinetuneOrder::Shuffled,
        }
    }
}

/// Who learns from a trace in joint finetuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learners {
    /// Every candidate with a weight above zero.
    All,
    /// Only the tool that the trace calls.
    Gold,
}

/// Order of traces in joint finetuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinetuneOrder {
    /// One seeded shuffle an epoch.
    Shuffled,
    /// Record by record, tool by tool.
    Records,
}
