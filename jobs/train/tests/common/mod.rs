//! What the tests of this crate share: a small base model, tools of different sizes, and fans run to their end.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use jobs_lm::decoder::Decoder;
use jobs_lora::{AdamW, Adapter, AdapterShape};
use jobs_spec::memory::Recompute;
use jobs_spec::model::{ModelConfig, Projection};
use jobs_train::fan::{Fan, FanConfig, SlotEvent, SlotTask, Start, TaskId};
use jobs_train::sample::Sample;
use jobs_train::schedule::Schedule;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The paper's targets.
pub(crate) const MLP: [Projection; 3] = [Projection::Gate, Projection::Up, Projection::Down];

/// A base of random weights.
pub(crate) fn base(hidden: usize, layers: usize, inner: usize, heads: usize) -> Arc<Decoder> {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 300, "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": heads / 2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "max_position_embeddings": 2048, "tie_word_embeddings": true, "hidden_act": "silu", "eos_token_id": 2,
    });
    let file = folder.path().join("config.json");
    std::fs::write(&file, config.to_string()).unwrap();
    Arc::new(Decoder::init(ModelConfig::from_file(&file).unwrap(), 1, &Device::flex()))
}

/// Adapters for a base, of rank 4.
pub(crate) fn shape(base: &Decoder) -> Arc<AdapterShape> {
    Arc::new(AdapterShape::targeting(4, 16.0, &MLP, base.config()).unwrap())
}

/// Samples of random tokens; prompt and completion lengths are drawn below the given limits.
pub(crate) fn samples(seed: u64, count: usize, longest: usize) -> Vec<Sample> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut ids = |longest: usize| {
        let length = rng.random_range(1..longest);
        (0..length).map(|_| rng.random_range(0..300)).collect::<Vec<u32>>()
    };
    (0..count).map(|_| Sample { prompt: ids(longest), completion: ids(longest / 2 + 2) }).collect()
}

/// Tool number `tool`: own samples, own lengths, own number of steps; the same first adapter as all others.
pub(crate) fn tool(base: &Decoder, tool: u64) -> SlotTask {
    let spread = usize::try_from(tool).unwrap();
    SlotTask {
        id: TaskId(format!("tool-{tool}")),
        samples: samples(tool, 2 + spread % 4, 6 + 9 * (spread % 5)),
        epochs: 2 + spread % 2,
        seed: Some(100 + tool),
        optimizer: AdamW { lr: 1e-2, ..AdamW::default() },
        schedule: Schedule::default(),
        start: Start::Fresh(Adapter::init(&shape(base), 7)),
    }
}

/// An empty fan.
pub(crate) fn fan(base: &Arc<Decoder>, slots: usize, tokens_per_pass: usize) -> Fan {
    Fan::new(
        Arc::clone(base),
        &shape(base),
        FanConfig { slots, tokens_per_pass, recompute: Recompute::Nothing },
    )
}

/// An adapter's values and its losses, to the bit.
pub(crate) type Bits = (Vec<u32>, Vec<u32>);

/// What every task of a fan ended with: the adapter's bits and the losses' bits.
pub(crate) type Results = BTreeMap<TaskId, Bits>;

/// The bits of numbers.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Runs tasks to their end, refilling slots as they come free.
pub(crate) fn run(fan: &mut Fan, tasks: impl IntoIterator<Item = SlotTask>) -> Results {
    let mut tasks = tasks.into_iter();
    let mut results = Results::new();
    loop {
        while fan.free_slots() > 0 {
            let Some(task) = tasks.next() else { break };
            fan.start(task).unwrap();
        }
        let events = fan.pass().unwrap();
        if events.is_empty() {
            return results;
        }
        results.extend(events.into_iter().filter_map(finished));
    }
}

/// The result in a task's last event.
pub(crate) fn finished(event: SlotEvent) -> Option<(TaskId, Bits)> {
    match event {
        SlotEvent::Finished { task, adapter, losses } => {
            Some((task, (bits(adapter.values()), bits(&losses))))
        }
        SlotEvent::Step { .. } | SlotEvent::NonFinite { .. } => None,
    }
}

/// The folder of reference models, beside the checkout; `None`, with a printed reason, where it is absent.
pub(crate) fn reference() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/reference"));
    if folder.is_dir() {
        return Some(folder);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} not found", folder.display());
    println!("skipped: {} not found", folder.display());
    None
}
