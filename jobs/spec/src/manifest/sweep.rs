//! What a sweep starts from: its name, base model and dataset.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Evaluate, Stages};
use crate::category::Category;
use crate::model::{Family, ModelConfig, Rope, RopeScaling};

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
    /// What the mean loss over a prompt counts beside that over its answer.
    pub prompt_weight: f64,
    /// Examples a step.
    pub batch: usize,
    /// Peak learning rate; linear warm-up, then linear decay to zero.
    pub lr: f64,
    /// Decay of AdamW's second moment.
    pub beta2: f64,
    /// Warm-up steps.
    pub warmup: usize,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm.
    pub clip: f64,
}

impl BaseTraining {
    /// The model that is trained, for contexts of up to `max_tokens`. Padding is token 0, the end of a turn is token 2.
    pub fn model(&self, max_tokens: usize) -> ModelConfig {
        ModelConfig {
            family: Family::Qwen2,
            vocab_size: self.vocabulary,
            hidden_size: self.hidden,
            intermediate_size: self.feed_forward,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.hidden / self.heads,
            rms_norm_eps: 1e-6,
            rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
            max_positions: max_tokens,
            tie_word_embeddings: true,
            eos_ids: vec![2],
            bos_id: None,
            pad_id: Some(0),
        }
    }
}

impl Default for BaseTraining {
    fn default() -> Self {
        Self {
            hidden: 192,
            layers: 4,
            feed_forward: 512,
            heads: 6,
            kv_heads: 2,
            vocabulary: 1664,
            tools: 600,
            examples: 96_000,
            with_documents: 0.4,
            prompt_weight: 0.5,
            batch: 4,
            lr: 1e-3,
            beta2: 0.98,
            warmup: 100,
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
