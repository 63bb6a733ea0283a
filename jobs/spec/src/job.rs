//! What one job computes: the message from the planner to the runner. The control plane treats it as opaque text.
//!
//! These types are hashed into job keys ([`crate::key`]): changing a field's name or meaning changes what is cached, so raise
//! [`crate::key::FORMAT`] with it.

use std::collections::BTreeMap;

use proto::id::{Digest, JobKey};
use serde::{Deserialize, Serialize};

use crate::category::Category;
use crate::key::{KeyError, job_key};
use crate::manifest::{
    AdapterSet, BaseTraining, Embed, Finetune, Gate, Generation, Pretrain, Prompt, Variant,
};

/// Names of a job's inputs, as the runner finds them in its input folder.
pub mod input {
    /// The base model, in Hugging Face layout.
    pub const BASE: &str = "base";
    /// One tool's traces ([`super::JobSpec::Pretrain`]).
    pub const TRACES: &str = "traces";
    /// The whole training set: tools and traces.
    pub const DATASET: &str = "dataset";
    /// Held-out entries of one category.
    pub const ENTRIES: &str = "entries";
    /// Frozen encodings of contexts and documents.
    pub const EMBEDDINGS: &str = "embeddings";
    /// The BERT encoder, where `q_encoder` is not the base.
    pub const ENCODER: &str = "encoder";
    /// The trained gate.
    pub const GATE: &str = "gate";
    /// Finetuned adapters of all tools.
    pub const ADAPTERS: &str = "adapters";

    /// One pretrained adapter: `adapter/<tool key>`.
    pub fn adapter(tool: &str) -> String {
        format!("{ADAPTER_OF}{tool}")
    }

    /// The tool key of an input named by [`adapter`].
    pub fn tool_of_adapter(name: &str) -> Option<&str> {
        name.strip_prefix(ADAPTER_OF)
    }

    const ADAPTER_OF: &str = "adapter/";
}

/// What one job computes. The tag is the job's kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobSpec {
    /// Trains a small base model. No inputs.
    Base(BaseSpec),
    /// Encodes contexts and tool documents. Inputs: base or encoder, dataset.
    Embed(EmbedSpec),
    /// Trains one tool's adapter. Inputs: base, traces.
    Pretrain(PretrainSpec),
    /// Trains the gate. Inputs: embeddings, dataset.
    Gate(GateSpec),
    /// Finetunes all adapters jointly. Inputs: base, dataset, gate, embeddings, `adapter/<tool>` for each tool that was not waived.
    Finetune(FinetuneSpec),
    /// Scores one variant on one category. Inputs: base, entries; the variant's adapters (`adapters`, or `adapter/<tool>` for each
    /// tool); where the gate weighs them, the gate and the encoder if there is one.
    Evaluate(EvaluateSpec),
}

impl JobSpec {
    /// The kind's name, equal to the serialised tag and to the stage's name.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Base(_) => "base",
            Self::Embed(_) => "embed",
            Self::Pretrain(_) => "pretrain",
            Self::Gate(_) => "gate",
            Self::Finetune(_) => "finetune",
            Self::Evaluate(_) => "evaluate",
        }
    }

    /// The role under which the job's artifact is recorded.
    pub const fn role(&self) -> &'static str {
        match self {
            Self::Base(_) => "base",
            Self::Embed(_) => "embeddings",
            Self::Pretrain(_) => "adapter",
            Self::Gate(_) => "gate",
            Self::Finetune(_) => "adapters",
            Self::Evaluate(_) => "report",
        }
    }
}

/// See [`JobSpec::Base`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseSpec {
    /// Architecture, corpus and optimiser.
    pub training: BaseTraining,
    /// How the corpus' prompts are built.
    pub prompt: Prompt,
    /// Seed of weights and corpus.
    pub seed: u64,
}

/// See [`JobSpec::Embed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbedSpec {
    /// Encoder and pooling. An encoder's folder is [`input::ENCODER`], whatever the manifest calls it.
    pub embed: Embed,
}

/// See [`JobSpec::Pretrain`]. The data order is drawn from the job key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PretrainSpec {
    /// The tool's key.
    pub tool: String,
    /// The tool's name, for people.
    pub name: String,
    /// Rank of the adapter.
    pub rank: usize,
    /// Scale is `alpha / rank`.
    pub alpha: f64,
    /// Passes over the tool's samples.
    pub epochs: usize,
    /// Constant learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Whether each trace is also used with documents.
    pub with_documents: bool,
    /// How prompts and targets are built.
    pub prompt: Prompt,
    /// Seed of the initial adapter, shared by all tools of a sweep.
    pub init_seed: u64,
}

impl PretrainSpec {
    /// The spec of one tool under a manifest's settings.
    pub fn new(tool: String, name: String, stage: &Pretrain, prompt: &Prompt, init_seed: u64) -> Self {
        Self {
            tool,
            name,
            rank: stage.rank,
            alpha: stage.alpha,
            epochs: stage.epochs,
            lr: stage.lr,
            weight_decay: stage.weight_decay,
            with_documents: stage.with_documents,
            prompt: prompt.clone(),
            init_seed,
        }
    }
}

/// How a lane runs the jobs of one fan. It changes speed, never results, so it is not part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FanLimits {
    /// Adapters trained together.
    pub slots: usize,
    /// Token budget of one shared pass.
    pub tokens_per_pass: usize,
}

/// See [`JobSpec::Gate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateSpec {
    /// Network and optimiser.
    pub gate: Gate,
    /// Seed of weights, order and split.
    pub seed: u64,
}

/// See [`JobSpec::Finetune`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinetuneSpec {
    /// Optimiser and order.
    pub finetune: Finetune,
    /// Rank of the adapters.
    pub rank: usize,
    /// Scale is `alpha / rank`.
    pub alpha: f64,
    /// How prompts and targets are built.
    pub prompt: Prompt,
    /// Seed of the order.
    pub seed: u64,
    /// Keys of all tools, in dataset order. Those without an input are left out.
    pub tools: Vec<String>,
}

/// See [`JobSpec::Evaluate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluateSpec {
    /// What is scored.
    pub variant: Variant,
    /// On which category.
    pub category: Category,
    /// How text is generated.
    pub generation: Generation,
    /// How prompts are built.
    pub prompt: Prompt,
    /// Encoder and pooling of the gate's contexts; the default where no gate weighs adapters.
    pub embed: Embed,
    /// Score at most this many entries.
    pub limit: Option<usize>,
}

impl EvaluateSpec {
    /// The adapter set that the variant reads.
    pub fn adapters(&self) -> AdapterSet {
        self.variant.adapters
    }
}

/// Where a job's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// An artifact that the planner imported: the digest of its manifest.
    Artifact(Digest),
    /// The artifact that another job commits.
    Job(JobKey),
}

/// A job as planned, before it has a row in the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedJob {
    /// The hash of spec and inputs.
    pub key: JobKey,
    /// What it computes.
    pub spec: JobSpec,
    /// What people call it: a tool's name, `soft/multiple`, ….
    pub label: String,
    /// Its inputs by name.
    pub inputs: BTreeMap<String, Input>,
    /// Jobs with equal fan keys may train together in one lane.
    pub fan: Option<Digest>,
    /// How a lane runs its fan.
    pub fan_limits: Option<FanLimits>,
    /// Whether it goes before others of its fan, so that an evaluation can start early.
    pub coverage: bool,
    /// How many adapters among its inputs it may go on without, once their jobs have failed.
    pub may_miss: u32,
    /// Expected work, for order and ETA: longest first. Unit: supervised and prompt tokens.
    pub tokens: u64,
}

impl PlannedJob {
    /// A job that runs alone and misses nothing, under its key.
    ///
    /// # Errors
    /// When the spec holds a number that JSON cannot express.
    pub fn new(
        spec: JobSpec,
        label: String,
        inputs: BTreeMap<String, Input>,
        tokens: u64,
    ) -> Result<Self, KeyError> {
        let key = job_key(&spec, &inputs)?;
        let (fan, fan_limits, coverage, may_miss) = (None, None, false, 0);
        Ok(Self { key, spec, label, inputs, fan, fan_limits, coverage, may_miss, tokens })
    }

    /// The jobs whose artifacts this one reads.
    pub fn needs(&self) -> impl Iterator<Item = JobKey> + '_ {
        self.inputs.values().filter_map(|input| match input {
            Input::Job(key) => Some(*key),
            Input::Artifact(_) => None,
        })
    }
}
