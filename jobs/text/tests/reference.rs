//! Ids of tokenizer and template against those that transformers wrote into the reference folders.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::path::PathBuf;

use jobs_text::{Chat, Message, Role};

/// The shared test data; `None`, with a line that says so, where it is not there.
fn reference() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/reference"));
    if folder.is_dir() {
        return Some(folder);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} not found", folder.display());
    println!("skipped: {} not found", folder.display());
    None
}

#[test]
fn template_and_targets_give_the_ids_of_transformers() {
    let Some(folder) = reference() else { return };
    for family in ["qwen2", "llama3", "qwen3"] {
        let chat = Chat::load(&folder.join(family).join("model")).unwrap();
        assert_eq!((chat.end_of_turn(), chat.stops()), (2, [2].as_slice()), "{family}");
        let golden = std::fs::read_to_string(folder.join(family).join("golden.json")).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
        let ids = |value: &serde_json::Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
        for trace in golden["traces"].as_array().unwrap() {
            let (prompt, completion) = (ids(&trace["prompt"]), ids(&trace["completion"]));
            let text = chat.tokenizer().decode(&prompt).unwrap();
            let question = text.strip_prefix("user\n").and_then(|t| t.strip_suffix("\nassistant\n")).unwrap();
            let message = Message { role: Role::User, content: question.to_owned() };
            assert_eq!(chat.prompt_ids(&[message]).unwrap(), prompt, "{family}: {question}");
            let answer = chat.tokenizer().decode(&completion).unwrap();
            assert_eq!(chat.answer_ids(&answer, true).unwrap(), completion, "{family}: {answer}");
        }
    }
}
