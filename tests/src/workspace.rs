//! A small dataset and the base model that a manifest over it names: for tests that plan, or whose runners compute nothing.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Sizes of the base model.
pub const CONFIG: &str = r#"{"model_type": "qwen2", "vocab_size": 64, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 64}"#;

/// Writes the model into `base` and the dataset into `tools`: for each tool one trace, whose candidates are it and its neighbour, and one
/// held-out entry that wants the second tool. Tools are neighbours two by two.
///
/// # Panics
/// When a file cannot be written, or there is no second tool.
pub fn write(folder: &Path, tools: &[impl AsRef<str>]) {
    model(&folder.join("base"));
    let mut functions = Vec::new();
    for pair in tools.chunks(2) {
        let candidates: Vec<_> = pair.iter().map(|name| tool(name.as_ref())).collect();
        functions.extend(candidates.iter().map(|own| with_trace(own, &candidates)));
    }
    let record = json!({"id": "r", "question": "x", "function": functions});
    put(&folder.join("tools/multiple.jsonl"), format!("{record}\n"));
    let [first, second] = [0, 1].map(|at| tools[at].as_ref());
    let question = json!([[{"role": "user", "content": format!("{second} in Bergen")}]]);
    let entry = json!({"id": "multiple_0", "question": question, "function": [tool(first), tool(second)]});
    let entries = folder.join("tools/entries");
    put(&entries.join("BFCL_v4_multiple.json"), format!("{entry}\n"));
    let answer = json!({"id": "multiple_0", "ground_truth": [{second: {"city": ["Bergen"]}}]});
    put(&entries.join("possible_answer/BFCL_v4_multiple.json"), format!("{answer}\n"));
}

/// Writes a model folder with one tensor.
///
/// # Panics
/// When a file cannot be written.
pub fn model(folder: &Path) {
    put(&folder.join("config.json"), CONFIG);
    put(&folder.join("tokenizer.json"), "{}");
    let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    put(&folder.join("model.safetensors"), [&length, header.as_slice(), &[0; 4]].concat());
}

fn put(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder is made");
    fs::write(path, content).expect("a file is written");
}

fn tool(name: &str) -> Value {
    json!({
        "name": name,
        "description": format!("{name} of a city"),
        "parameters": {
            "type": "dict",
            "properties": {"city": {"type": "string", "description": "where"}},
            "required": ["city"],
        },
    })
}

fn with_trace(own: &Value, candidates: &[Value]) -> Value {
    let name = own["name"].as_str().unwrap_or_default();
    let mut function = own.clone();
    function["training_data"] = json!([{
        "question": format!("{name} in Oslo"),
        "candidate_tools": candidates,
        "answer": format!("[{name}(city='Oslo')]"),
    }]);
    function
}
