//! Adapter folders: PEFT's own files, ours, and broken ones.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod common;

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::Device;
use common::numbers;
use half::f16;
use jobs_lm::adapt::{Adapters, Site};
use jobs_lora::{Adapter, AdapterShape, Bank, RoutedBank, Routing, peft};
use jobs_spec::model::{ModelConfig, Projection};
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};

const MLP: [Projection; 3] = [Projection::Gate, Projection::Up, Projection::Down];

/// A base of two layers, hidden 8, inner 12.
fn base() -> ModelConfig {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 32, "hidden_size": 8,
        "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 64, "tie_word_embeddings": true,
        "hidden_act": "silu", "eos_token_id": 2,
    });
    let file = folder.path().join("config.json");
    std::fs::write(&file, config.to_string()).unwrap();
    ModelConfig::from_file(&file).unwrap()
}

/// Name, type, shape and bytes of a tensor in a file.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

fn adapter() -> Adapter {
    let shape = AdapterShape::targeting(2, 8.0, &MLP, &base()).unwrap().into();
    Adapter::from_values(&shape, numbers(1, shape.parameters())).unwrap()
}

fn exported() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    peft::export(&adapter(), "base", folder.path()).unwrap();
    folder
}

/// Rewrites the tensor file of an exported adapter.
fn rewrite(folder: &Path, change: impl Fn(&str, Vec<usize>, Vec<u8>) -> Option<Stored>) {
    let file = folder.join(peft::MODEL_FILE);
    let bytes = std::fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let changed =
        tensors.iter().filter_map(|(name, view)| change(name, view.shape().to_vec(), view.data().to_vec()));
    let changed = changed.collect::<Vec<_>>();
    let views = changed.iter().map(|(name, dtype, shape, data)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    std::fs::write(&file, serialize(views, None::<HashMap<String, String>>).unwrap()).unwrap();
}

fn refusal(folder: &Path) -> String {
    let error = peft::import(folder, &base()).unwrap_err().to_string();
    assert!(error.starts_with(folder.to_str().unwrap()), "{error} names the file");
    assert_eq!(error.lines().count(), 1);
    error
}

#[test]
fn what_is_written_is_read_and_equal_adapters_are_equal_files() {
    let (first, second) = (exported(), exported());
    assert_eq!(peft::import(first.path(), &base()).unwrap(), adapter());
    for file in [peft::CONFIG_FILE, peft::MODEL_FILE] {
        let read = |folder: &tempfile::TempDir| std::fs::read(folder.path().join(file)).unwrap();
        assert_eq!(read(&first), read(&second));
    }
}

#[test]
fn half_precision_without_prefix_is_read() {
    let folder = exported();
    rewrite(folder.path(), |name, shape, data| {
        let halves = data.as_chunks::<4>().0.iter().map(|bytes| f16::from_f32(f32::from_le_bytes(*bytes)));
        let name = name.strip_prefix("base_model.model.").unwrap().to_owned();
        Some((name, Dtype::F16, shape, halves.flat_map(f16::to_le_bytes).collect()))
    });
    let expected = adapter().values().iter().map(|x| f16::from_f32(*x).to_f32()).collect::<Vec<_>>();
    assert_eq!(peft::import(folder.path(), &base()).unwrap().values(), expected);
}

#[test]
fn broken_folders_are_refused_with_file_and_tensor() {
    let folder = exported();
    let file = folder.path().join(peft::MODEL_FILE);
    let bytes = std::fs::read(&file).unwrap();
    for length in [0, 5, 40, bytes.len() - 1] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        refusal(folder.path());
    }
    std::fs::remove_file(&file).unwrap();
    refusal(folder.path());

    const UP: &str = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";
    let edited = |change: &dyn Fn(&mut Stored) -> bool| {
        let folder = exported();
        rewrite(folder.path(), |name, shape, data| {
            let mut entry = (name.to_owned(), Dtype::F32, shape, data);
            (name != UP || change(&mut entry)).then_some(entry)
        });
        refusal(folder.path())
    };
    let error = edited(&|entry| {
        entry.2.reverse();
        true
    });
    assert!(error.ends_with(&format!("tensor {UP} has shape [2, 12], expected [12, 2]")), "{error}");
    assert!(edited(&|_| false).contains("layers.1.mlp.up_proj.lora_B.weight is missing"));
    let error = edited(&|entry| {
        entry.1 = Dtype::I32;
        true
    });
    assert!(error.ends_with("lora_B.weight is I32, expected F32, F16 or BF16"), "{error}");
    for name in
        ["model.layers.7.mlp.up_proj.lora_B.weight", "model.layers.1.self_attn.q_proj.lora_A.weight", "x"]
    {
        let error = edited(&|entry| {
            entry.0 = name.to_owned();
            true
        });
        assert!(
            error.ends_with(&format!("tensor {name} belongs to no projection of the base model")),
            "{error}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn damaged_bytes_never_panic(place in proptest::prelude::any::<proptest::sample::Index>(), byte: u8, settings: bool) {
        let folder = exported();
        let file = folder.path().join(if settings { peft::CONFIG_FILE } else { peft::MODEL_FILE });
        let mut bytes = std::fs::read(&file).unwrap();
        // Headers are where damage is dangerous; numbers are just other numbers.
        let header = if settings { bytes.len() } else { 700 };
        bytes[place.index(header)] = byte;
        std::fs::write(&file, bytes).unwrap();
        let _ = peft::import(folder.path(), &base());
    }
}

#[test]
fn settings_that_mean_something_else_are_refused() {
    for (field, value) in [
        ("use_dora", serde_json::json!(true)),
        ("use_rslora", true.into()),
        ("bias", "all".into()),
        ("peft_type", "LOHA".into()),
        ("rank_pattern", serde_json::json!({"up_proj": 4})),
        ("r", "two".into()),
    ] {
        let folder = exported();
        let file = folder.path().join(peft::CONFIG_FILE);
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        config[field] = value;
        std::fs::write(&file, config.to_string()).unwrap();
        let error = refusal(folder.path());
        assert!(field == "r" || error.contains(field), "{error}");
    }
}

#[test]
fn reference_adapters_keep_their_tensors() {
    let Some(reference) = common::reference() else { return };
    for family in ["qwen2", "llama3", "qwen3"] {
        let base = ModelConfig::from_dir(&reference.join(family).join("model")).unwrap();
        let source = reference.join(family).join("adapters/tool-1");
        let adapter = peft::import(&source, &base).unwrap();
        assert_eq!((adapter.shape().rank(), adapter.shape().scale()), (16, 4.0));
        assert_eq!(**adapter.shape(), AdapterShape::targeting(16, 64.0, &MLP, &base).unwrap());
        let copy = tempfile::tempdir().unwrap();
        peft::export(&adapter, "model", copy.path()).unwrap();
        let read = |folder: &Path| std::fs::read(folder.join(peft::MODEL_FILE)).unwrap();
        let (ours, theirs) = (read(copy.path()), read(&source));
        let (ours, theirs) =
            (SafeTensors::deserialize(&ours).unwrap(), SafeTensors::deserialize(&theirs).unwrap());
        assert_eq!(ours.len(), theirs.len());
        for (name, view) in theirs.iter() {
            assert_eq!(ours.tensor(name).unwrap(), view, "{family} {name}");
        }
    }
}

#[test]
fn an_imported_adapter_computes_the_merged_weight() {
    let folder = exported();
    let adapter = peft::import(folder.path(), &base()).unwrap();
    let site = Site { layer: 1, projection: Projection::Down };
    let index = adapter.shape().index(site).unwrap();
    let (a, b) = (adapter.a(index).to_vec(), adapter.b(index).to_vec());
    let mut bank = Bank::new(adapter.shape(), &Device::flex());
    let slot = bank.insert(adapter).unwrap();
    let routed = RoutedBank::new(&bank, &Routing::everywhere(vec![(slot, 1.0)])).unwrap();
    let (x, base) = (common::rows(5, [3, 12]), common::rows(6, [3, 8]));
    let y = common::values(&routed.forward(site, &x, base.clone()));
    let (x, mut expected) = (common::values(&x), common::values(&base));
    for (row, out) in expected.chunks_mut(8).enumerate() {
        for (o, out) in out.iter_mut().enumerate() {
            for i in 0..12 {
                let merged: f32 = (0..2).map(|k| 4.0 * b[o * 2 + k] * a[k * 12 + i]).sum();
                *out += merged * x[row * 12 + i];
            }
        }
    }
    assert!(common::distance(&y, &expected) < 1e-5);
}
