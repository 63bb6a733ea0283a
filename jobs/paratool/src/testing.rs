//! A model, a tokenizer and a data set small enough for tests.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use jobs_data::set::{Entry, EntrySet, TrainingSet};
use jobs_data::tool::Tool;
use jobs_data::trace::Trace;
use jobs_lm::decoder::Decoder;
use jobs_lora::{Adapter, AdapterShape};
use jobs_spec::category::Category;
use jobs_spec::manifest::{Layer, Pooling, Prompt, PromptStyle};
use jobs_spec::model::{Family, ModelConfig, Rope, RopeScaling};
use jobs_text::{Chat, Tokenizer, bpe};
use serde_json::json;

use crate::Unwatched;
use crate::embed::{Embeddings, TextEncoder};
use crate::gate::Gate;
use crate::stage1_pretrain;

const NAMES: [&str; 4] = ["find_flight", "book_hotel", "play_song", "send_mail"];

/// Everything that the stages read.
pub(crate) struct World {
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) chat: Chat,
    pub(crate) encoder: TextEncoder,
    pub(crate) set: TrainingSet,
    pub(crate) embeddings: Embeddings,
    pub(crate) gate: Gate,
    pub(crate) prompt: Prompt,
    pub(crate) shape: Arc<AdapterShape>,
}

pub(crate) fn tool(name: &str) -> Tool {
    let parameters = json!({"type": "dict", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    Tool::new(json!({"name": name, "description": "Größe", "parameters": parameters})).unwrap()
}

/// Traces over the first three of four tools with the fourth as a distractor only.
fn training_set() -> TrainingSet {
    let tools = NAMES.map(tool).to_vec();
    let mut traces = Vec::new();
    for (i, name) in NAMES.iter().take(3).enumerate() {
        for n in 0..4 {
            let category = if n % 2 == 0 { Category::Multiple } else { Category::ParallelMultiple };
            let mark = if category.is_multi_step() { "<CALL_END>" } else { "" };
            let candidates = [i, (i + 1 + n) % 4].map(|i| tools[i].key.clone());
            let mut candidates = candidates.to_vec();
            candidates.dedup();
            traces.push(Trace {
                category,
                tool: tools[i].key.clone(),
                question: format!("{} number {n}", name.replace('_', " ")),
                candidates,
                answer: format!("[{name}(n={n})]{mark}"),
            });
        }
    }
    TrainingSet { tools, traces }
}

pub(crate) fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let set = training_set();
    let texts =
        set.traces.iter().map(|trace| format!("{} {}", trace.question, trace.answer)).collect::<Vec<_>>();
    bpe::train(texts.iter().map(String::as_str), 300, folder.path()).unwrap();
    let (chat, tokenizer) = (Chat::load(folder.path()).unwrap(), Tokenizer::load(folder.path()).unwrap());
    let decoder = Arc::new(Decoder::init(config(chat.tokenizer().vocabulary()), 3, &device));
    let encoder = TextEncoder::base(Arc::clone(&decoder), tokenizer, Layer::Last, Pooling::Mean);
    let embeddings = Embeddings::of(&set, &encoder, &mut Unwatched).unwrap();
    let keys = set.tools.iter().map(|tool| tool.key.clone()).collect();
    let gate = Gate::new(24, 8, jobs_spec::manifest::ToolVector::Document, keys, [1, 2]);
    let prompt = Prompt { style: PromptStyle::Terse, ..Prompt::default() };
    let shape = stage1_pretrain::shape(decoder.config(), 2, 4.0).unwrap();
    World { decoder, chat, encoder, set, embeddings, gate, prompt, shape }
}

fn config(vocab_size: usize) -> ModelConfig {
    ModelConfig {
        family: Family::Qwen2,
        vocab_size,
        hidden_size: 24,
        intermediate_size: 40,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 12,
        rms_norm_eps: 1e-6,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        max_positions: 512,
        tie_word_embeddings: true,
        eos_ids: vec![2],
        bos_id: None,
        pad_id: Some(0),
    }
}

impl World {
    /// An adapter that changes much: both matrices drawn from a seed, B large.
    pub(crate) fn adapter(&self, seed: u64) -> Adapter {
        let (a, b) = (Adapter::init(&self.shape, seed), Adapter::init(&self.shape, seed + 1_000));
        let values = a.values().iter().zip(b.values().iter().rev());
        let values = values.map(|(a, b)| if *a == 0.0 { 20.0 * b } else { *a }).collect();
        Adapter::from_values(&self.shape, values).unwrap()
    }

    /// Two entries whose candidates are the first three tools.
    pub(crate) fn entries(&self, category: Category) -> EntrySet {
        let entry = |n: usize| Entry {
            id: format!("{category}_{n}"),
            question: format!("find flight number {n}"),
            candidates: self.set.tools[..3].to_vec(),
            ground_truth: json!([{"find_flight": {"n": [n]}}]),
        };
        EntrySet { category, entries: (0..2).map(entry).collect() }
    }
}

/// Writes an adapter folder below `root` for each given tool.
pub(crate) fn export(adapters: &[(String, Adapter)], root: &Path) -> Vec<(String, std::path::PathBuf)> {
    let one = |(tool, adapter): &(String, Adapter)| {
        let folder = root.join(tool);
        jobs_lora::peft::export(adapter, "base", &folder).unwrap();
        (tool.clone(), folder)
    };
    adapters.iter().map(one).collect()
}
