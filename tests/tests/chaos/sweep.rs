//! A sweep of many small jobs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Sizes of a base model that nobody computes with.
const CONFIG: &str = r#"{"model_type": "qwen2", "vocab_size": 64, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 64}"#;

/// Writes a manifest over `tools` tools with all that it names. Its sweep has a job for each tool, and a few over all of them.
pub(crate) fn write(folder: &Path, tools: usize) -> PathBuf {
    let put = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    put("base/config.json", CONFIG.as_bytes());
    put("base/tokenizer.json", b"{}");
    let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    put("base/model.safetensors", &[&length, header.as_slice(), &[0; 4]].concat());
    let functions: Vec<Value> = (0..tools).map(|number| function(number, tools)).collect();
    let record = json!({"id": "r", "question": "x", "function": functions});
    put("tools/multiple.jsonl", record.to_string().as_bytes());
    let question = json!([[{"role": "user", "content": "what holds in Bergen"}]]);
    let entry = json!({"id": "multiple_0", "question": question, "function": [tool(0), tool(1)]});
    put("tools/entries/BFCL_v4_multiple.json", entry.to_string().as_bytes());
    let answer = json!({"id": "multiple_0", "ground_truth": [{name(0): {"city": ["Bergen"]}}]});
    put("tools/entries/possible_answer/BFCL_v4_multiple.json", answer.to_string().as_bytes());
    put("chaos.yaml", b"name: chaos\nbase: {path: base}\ndataset: {records: {path: tools}}\nevaluate: {}\n");
    folder.join("chaos.yaml")
}

fn name(number: usize) -> String {
    format!("tool_{number}")
}

fn tool(number: usize) -> Value {
    json!({
        "name": name(number),
        "description": format!("what holds in a city, number {number}"),
        "parameters": {
            "type": "dict",
            "properties": {"city": {"type": "string", "description": "where"}},
            "required": ["city"],
        },
    })
}

/// A tool with a trace of its own.
fn function(number: usize, tools: usize) -> Value {
    let mut function = tool(number);
    function["training_data"] = json!([{
        "question": format!("{} in Oslo", name(number)),
        "candidate_tools": [tool(number), tool((number + 1) % tools)],
        "answer": format!("[{}(city='Oslo')]", name(number)),
    }]);
    function
}
