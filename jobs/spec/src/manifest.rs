//! The manifest: what a person writes to ask for a sweep. `docs/manifest.md` is its reference.
//!
//! Defaults are the paper's settings (BFCL column) unless their doc comment says otherwise.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::category::Category;

/// Everything one sweep asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What people call the sweep: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The sweep's seed: initial adapters and the gate's start are drawn from it.
    #[serde(default)]
    pub seed: u64,
    /// The base model.
    pub base: Base,
    /// Tools, traces and held-out entries. May be absent when only a base is trained.
    #[serde(default)]
    pub dataset: Option<Dataset>,
    /// Settings of the training stages.
    #[serde(default)]
    pub stages: Stages,
    /// What is scored. Absent: nothing.
    #[serde(default)]
    pub evaluate: Option<Evaluate>,
    /// Settings to vary: dotted field path → values. Every combination is one point of the sweep; jobs that points share run once.
    #[serde(default)]
    pub matrix: BTreeMap<String, Vec<serde_json::Value>>,
}

/// Where the base model comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Base {
    /// A folder in Hugging Face layout, relative to the manifest.
    Path(PathBuf),
    /// Train one from nothing on synthesised calls with their documents in context.
    Train(BaseTraining),
}

/// The `base` stage: a small decoder of the Qwen2 architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaseTraining {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Size of the byte-level BPE vocabulary trained on the corpus.
    pub vocabulary: usize,
    /// Made-up tools in the corpus.
    pub tools: usize,
    /// Examples in all; each is seen once.
    pub examples: usize,
    /// Share of examples with the tools' documents in the prompt.
    pub with_documents: f64,
    /// Examples a step.
    pub batch: usize,
    /// Peak learning rate; linear warm-up, then linear decay to zero.
    pub lr: f64,
    /// Warm-up steps.
    pub warmup: usize,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm.
    pub clip: f64,
}

impl Default for BaseTraining {
    fn default() -> Self {
        Self {
            hidden: 192,
            layers: 4,
            feed_forward: 512,
            heads: 6,
            kv_heads: 2,
            vocabulary: 1024,
            tools: 400,
            examples: 28_000,
            with_documents: 0.7,
            batch: 24,
            lr: 2e-3,
            warmup: 200,
            weight_decay: 0.01,
            clip: 1.0,
        }
    }
}

/// Tools with their traces and the held-out entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Dataset {
    /// ParaTool records: a folder with `<category>.jsonl` (tools with `training_data`) and, for evaluation,
    /// `entries/BFCL_v4_<category>.json` with `entries/possible_answer/` in BFCL's own format.
    Records(Records),
    /// BFCL's own files; traces are synthesised from the function documents by templates.
    Bfcl(Bfcl),
}

/// A folder of ParaTool records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// The folder, relative to the manifest.
    pub path: PathBuf,
    /// Categories to read; all six by default, absent files being an error only when named here.
    #[serde(default)]
    pub categories: Option<Vec<Category>>,
}

/// A folder of BFCL files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bfcl {
    /// The folder, relative to the manifest.
    pub path: PathBuf,
    /// Categories to read; all six by default.
    #[serde(default = "all_categories")]
    pub categories: Vec<Category>,
    /// Keep only the first tools (in order of first appearance) and the entries whose candidates are all kept.
    #[serde(default)]
    pub tools: Option<usize>,
    /// How many traces are synthesised per tool.
    #[serde(default)]
    pub synthesis: Synthesis,
}

fn all_categories() -> Vec<Category> {
    Category::ALL.to_vec()
}

/// How the template synthesiser builds traces (paper, appendix C, low reading).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Synthesis {
    /// Atomic (request, call) pairs a tool; each gives one `multiple` trace with 1 or 2 distractors.
    pub atomic: usize,
    /// Traces with 2 to 4 calls of the same tool.
    pub parallel: usize,
    /// Traces over 2 to 4 tools, called one step at a time.
    pub parallel_multiple: usize,
    /// Nearest tools by Jaccard distance of schema tokens that distractors are drawn from.
    pub neighbours: usize,
    /// Seed of values, phrasings and distractors.
    pub seed: u64,
}

impl Default for Synthesis {
    fn default() -> Self {
        Self { atomic: 20, parallel: 60, parallel_multiple: 60, neighbours: 10, seed: 0 }
    }
}

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
    /// How token vectors become one.
    pub pooling: Pooling,
}

impl Default for Embed {
    fn default() -> Self {
        Self { q_encoder: QueryEncoder::Base, pooling: Pooling::Mean }
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

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over all tokens.
    Mean,
    /// The last token.
    Last,
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

/// What is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Categories; all that the dataset has by default.
    pub categories: Option<Vec<Category>>,
    /// What is compared.
    pub variants: Vec<Variant>,
    /// How text is generated.
    pub generation: Generation,
    /// Score at most this many entries of each category, the first ones.
    pub limit: Option<usize>,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            categories: None,
            variants: vec![
                Variant::base(),
                Variant::soft(),
                Variant::top1(),
                Variant::average(),
                Variant::oracle(),
            ],
            generation: Generation::default(),
            limit: None,
        }
    }
}

/// One way of using adapters, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Row name in the table.
    pub name: String,
    /// Which adapters.
    #[serde(default = "finetuned")]
    pub adapters: AdapterSet,
    /// How the candidates' adapters are weighed.
    #[serde(default = "gate_policy")]
    pub weights: Weights,
    /// Put the candidates' documents into the prompt.
    #[serde(default)]
    pub documents: bool,
}

fn finetuned() -> AdapterSet {
    AdapterSet::Finetuned
}

fn gate_policy() -> Weights {
    Weights::Gate
}

impl Variant {
    /// The base model without adapters or documents.
    pub fn base() -> Self {
        Self::new("base", AdapterSet::None, Weights::Uniform)
    }

    /// The method: finetuned adapters under the gate's weights.
    pub fn soft() -> Self {
        Self::new("soft", AdapterSet::Finetuned, Weights::Gate)
    }

    /// Only the gate's first choice.
    pub fn top1() -> Self {
        Self::new("top1", AdapterSet::Finetuned, Weights::Top1)
    }

    /// Equal weights.
    pub fn average() -> Self {
        Self::new("average", AdapterSet::Finetuned, Weights::Uniform)
    }

    /// Only the gold tool's adapter.
    pub fn oracle() -> Self {
        Self::new("oracle", AdapterSet::Finetuned, Weights::Oracle)
    }

    fn new(name: &str, adapters: AdapterSet, weights: Weights) -> Self {
        Self { name: name.to_owned(), adapters, weights, documents: false }
    }
}

/// Which adapters a variant uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterSet {
    /// None.
    None,
    /// Those of stage 1.
    Pretrained,
    /// Those of stage 3.
    Finetuned,
}

/// How the candidates' adapters are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// The gate's softmax.
    Gate,
    /// One for the gate's first choice.
    Top1,
    /// Equal.
    Uniform,
    /// One for the gold tool of the step.
    Oracle,
}

/// How text is generated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Generation {
    /// 0 is greedy.
    pub temperature: f64,
    /// Keep the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens with this probability.
    pub top_p: f64,
    /// Longest answer of one step.
    pub max_new_tokens: usize,
    /// Runs with different seeds; scores are pooled and reported per run.
    pub seeds: Vec<u64>,
}

impl Default for Generation {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 50, top_p: 1.0, max_new_tokens: 1_024, seeds: vec![0] }
    }
}
