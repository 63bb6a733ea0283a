//! Saving and loading of models: what comes back, and what damaged checkpoints are told.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use half::bf16;
use jobs_lm::checkpoint::FileFormat;
use jobs_lm::decoder::Decoder;
use jobs_lm::device::{self, Device};
use jobs_spec::model::{Family, ModelConfig, Rope, RopeScaling};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::json;

fn cpu() -> Device {
    device::parse("cpu").unwrap()
}

fn config(family: Family) -> ModelConfig {
    ModelConfig {
        family,
        vocab_size: 30,
        hidden_size: 12,
        intermediate_size: 20,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 6,
        rms_norm_eps: 1e-6,
        rope: Rope { theta: 1e4, scaling: RopeScaling::None },
        max_positions: 64,
        tie_word_embeddings: family == Family::Qwen2,
        eos_ids: vec![1, 2],
        bos_id: Some(0),
        pad_id: None,
    }
}

fn weights(decoder: &Decoder) -> HashMap<String, Vec<f32>> {
    decoder.parameters().map(|weight| (weight.name.clone(), weight.to_vec())).collect()
}

fn saved(family: Family, format: FileFormat, dir: &Path) -> Decoder {
    let decoder = Decoder::init(config(family), 4, &cpu());
    decoder.save(dir, format).unwrap();
    decoder
}

/// Splits the single file of a folder into two shards with an index.
fn shard(dir: &Path) {
    let single = dir.join("model.safetensors");
    let bytes = fs::read(&single).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut parts: [Vec<(String, TensorView<'_>)>; 2] = Default::default();
    for (index, (name, view)) in file.tensors().into_iter().enumerate() {
        parts[index % 2].push((name, view));
    }
    let mut map = serde_json::Map::new();
    for (index, part) in parts.into_iter().enumerate() {
        let name = format!("model-0000{}-of-00002.safetensors", index + 1);
        map.extend(part.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
        safetensors::serialize_to_file(part, None, &dir.join(name)).unwrap();
    }
    fs::remove_file(single).unwrap();
    fs::write(
        dir.join("model.safetensors.index.json"),
        json!({"metadata": {}, "weight_map": map}).to_string(),
    )
    .unwrap();
}

#[test]
fn f32_comes_back_bit_for_bit_from_one_file_and_from_shards() {
    for family in [Family::Qwen2, Family::Qwen3, Family::Llama] {
        let dir = tempfile::tempdir().unwrap();
        let decoder = saved(family, FileFormat::F32, dir.path());
        assert_eq!(
            decoder.parameters().map(|weight| weight.len()).sum::<usize>(),
            decoder.config().parameter_count()
        );
        let single = Decoder::load(dir.path(), &cpu()).unwrap();
        assert_eq!(single.config(), decoder.config());
        assert_eq!(weights(&single), weights(&decoder));
        shard(dir.path());
        assert_eq!(weights(&Decoder::load(dir.path(), &cpu()).unwrap()), weights(&decoder));
    }
}

#[test]
fn bf16_comes_back_rounded() {
    let dir = tempfile::tempdir().unwrap();
    let decoder = saved(Family::Llama, FileFormat::Bf16, dir.path());
    let loaded = weights(&Decoder::load(dir.path(), &cpu()).unwrap());
    for (name, values) in weights(&decoder) {
        let rounded: Vec<f32> = values.iter().map(|value| bf16::from_f32(*value).to_f32()).collect();
        assert_eq!(loaded[&name], rounded, "{name}");
    }
}

#[test]
fn fresh_weights_depend_on_the_seed_only() {
    let init = |seed| weights(&Decoder::init(config(Family::Qwen2), seed, &cpu()));
    assert_eq!(init(1), init(1));
    assert_ne!(init(1), init(2));
    let fresh = init(1);
    let deviation = |name: &str| {
        let values = &fresh[name];
        (values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32).sqrt()
    };
    let columns = config(Family::Qwen2).intermediate_size as f32;
    assert!((deviation("model.embed_tokens.weight") - 0.02).abs() < 0.003);
    let linear = deviation("model.layers.1.mlp.down_proj.weight") * columns.sqrt();
    assert!((linear - 1.0).abs() < 0.1, "{linear}");
    assert!(init(1)["model.norm.weight"].iter().all(|value| *value == 1.0));
    assert!(init(1)["model.layers.1.self_attn.q_proj.bias"].iter().all(|value| *value == 0.0));
}

/// The message for a checkpoint after `damage`.
fn message(damage: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    saved(Family::Qwen2, FileFormat::F32, dir.path());
    damage(dir.path());
    let message = Decoder::load(dir.path(), &cpu()).unwrap_err().to_string();
    assert!(message.contains(&dir.path().display().to_string()) && !message.contains('\n'), "{message}");
    message
}

#[test]
fn damage_is_told_by_file_and_tensor() {
    let file = "model.safetensors";
    let cut = |bytes: usize| {
        move |dir: &Path| {
            let content = fs::read(dir.join(file)).unwrap();
            fs::write(dir.join(file), &content[..bytes.min(content.len() - 10)]).unwrap();
        }
    };
    for bytes in [0, 4, 100, usize::MAX] {
        assert!(message(cut(bytes)).contains(file));
    }
    assert!(message(|dir| fs::remove_file(dir.join(file)).unwrap()).contains(file));

    let widen = |change: &'static str| {
        move |dir: &Path| {
            let path = dir.join("config.json");
            let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            config[change] = json!(config[change].as_u64().unwrap() + 1);
            fs::write(path, config.to_string()).unwrap();
        }
    };
    let text = message(widen("num_hidden_layers"));
    assert!(
        text.contains("no tensor `model.layers.2.self_attn.q_proj.weight`, expected of shape [12, 12]"),
        "{text}"
    );
    let text = message(widen("intermediate_size"));
    assert!(
        text.contains("tensor `model.layers.0.mlp.gate_proj.weight` has shape [20, 12], expected [21, 12]"),
        "{text}"
    );
}

#[test]
fn a_damaged_index_is_told() {
    let index = "model.safetensors.index.json";
    let with = |text: &'static str| move |dir: &Path| fs::write(dir.join(index), text).unwrap();
    for (text, reason) in [
        ("{", "EOF"),
        ("{}", "no object `weight_map`"),
        ("{\"weight_map\": {\"a\": \"../b\"}}", "`a` names no file of this folder"),
        ("{\"weight_map\": {\"a\": \"gone.safetensors\"}}", "gone.safetensors: No such file"),
    ] {
        let told = message(with(text));
        assert!(told.contains(reason), "{told}");
    }
}
