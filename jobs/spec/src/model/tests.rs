#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use super::*;

fn qwen2() -> Value {
    json!({
        "model_type": "qwen2", "vocab_size": 50, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 128, "rope_theta": 1e6,
        "rope_scaling": null, "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "eos_token_id": 2, "bos_token_id": null,
    })
}

/// The sizes of Qwen2.5-7B.
pub(crate) fn qwen25_7b() -> ModelConfig {
    let sizes = json!({
        "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32_768, "tie_word_embeddings": false,
    });
    read(qwen2(), sizes).unwrap()
}

fn read(mut value: Value, changes: Value) -> Result<ModelConfig, FieldError> {
    let object = value.as_object_mut().unwrap();
    object.extend(changes.as_object().unwrap().clone());
    object.retain(|_, value| value != "absent");
    ModelConfig::from_object(object)
}

#[test]
fn defaults_and_optional_fields() {
    let config = read(qwen2(), json!({})).unwrap();
    assert_eq!((config.head_dim, config.kv_heads, config.eos_ids.as_slice()), (4, 2, &[2][..]));
    assert_eq!(config.rope, Rope { theta: 1e6, scaling: RopeScaling::None });
    let config =
        read(qwen2(), json!({"num_key_value_heads": "absent", "head_dim": 8, "eos_token_id": [3, 4]}))
            .unwrap();
    assert_eq!((config.head_dim, config.kv_heads, config.eos_ids.as_slice()), (8, 6, &[3, 4][..]));
    assert_eq!(config.dims(Projection::Q), (24, 48));
}

#[test]
fn both_spellings_of_rotary_settings_are_one() {
    let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256});
    let old = read(qwen2(), json!({"rope_scaling": scaling})).unwrap();
    let mut parameters = scaling;
    parameters["rope_theta"] = json!(1e6);
    let new = read(
        qwen2(),
        json!({"rope_theta": "absent", "rope_scaling": "absent", "rope_parameters": parameters}),
    )
    .unwrap();
    assert_eq!(old.rope, new.rope);
    assert_eq!(old.rope.scaling, RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 256 });
    let linear = read(qwen2(), json!({"rope_scaling": {"type": "linear", "factor": 2.0}})).unwrap();
    assert_eq!(linear.rope.scaling, RopeScaling::Linear { factor: 2.0 });
}

#[test]
fn json_form_reads_back() {
    for family in ["qwen2", "qwen3", "llama"] {
        for scaling in [json!(null), json!({"rope_type": "linear", "factor": 2.0})] {
            let config = read(qwen2(), json!({"model_type": family, "rope_scaling": scaling})).unwrap();
            assert_eq!(ModelConfig::from_object(config.to_json().as_object().unwrap()), Ok(config));
        }
    }
}

#[test]
fn problems_name_the_field() {
    for (changes, field, text) in [
        (json!({"hidden_size": "absent"}), "hidden_size", "missing"),
        (json!({"hidden_size": "big"}), "hidden_size", "invalid type"),
        (json!({"vocab_size": -1}), "vocab_size", "invalid value"),
        (json!({"num_hidden_layers": 0}), "num_hidden_layers", "at least 1"),
        (json!({"num_key_value_heads": 4}), "num_key_value_heads", "4 does not divide num_attention_heads 6"),
        (json!({"head_dim": 5}), "head_dim", "5 is odd"),
        (json!({"model_type": "gpt2"}), "model_type", "`gpt2` is none of"),
        (json!({"hidden_act": "gelu"}), "hidden_act", "only `silu`"),
        (json!({"use_sliding_window": true}), "use_sliding_window", "not supported"),
        (json!({"rope_scaling": {"rope_type": "yarn"}}), "rope_type", "`yarn` is none of"),
        (json!({"rope_scaling": {"rope_type": "llama3"}}), "factor", "missing"),
        (json!({"rope_theta": 0.0}), "rope_theta", "not above 1"),
        (json!({"rms_norm_eps": 0.0}), "rms_norm_eps", "not positive"),
        (json!({"eos_token_id": 50}), "eos_token_id", "outside the vocabulary of 50"),
    ] {
        let error = read(qwen2(), changes).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.problem.contains(text), "{error}");
    }
}

#[test]
fn files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let message = |text: Option<&str>| {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let message = ModelConfig::from_dir(dir.path()).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        message
    };
    assert!(message(None).contains("No such file"));
    assert!(message(Some("{\"model_type\": ")).contains("line 1"));
    assert!(message(Some("{}")).contains("field `model_type`: missing"));
}

#[test]
fn sizes() {
    let config = read(qwen2(), json!({})).unwrap();
    let layer = 24 * 24 * 2 + 2 * 24 * 8 + 3 * 24 * 40;
    assert_eq!(config.parameter_count(), 50 * 24 + 2 * (layer + 24 + 8 + 8 + 2 * 24) + 24);
    assert_eq!(config.flops_per_token(10), 2 * (2 * (layer + 2 * 24 * 10) + 24 * 50) as u64);
}
