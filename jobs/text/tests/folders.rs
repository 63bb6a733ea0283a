//! Model folders: what training of a tokenizer writes, and what loading says of a folder that lacks something.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::fs;

use jobs_text::{Chat, ChatTemplate, Message, Role, Tokenizer, bpe};

fn texts() -> Vec<String> {
    (0..200)
        .map(|i| format!("Please find flight {i} to Zürich. [find_flight(number={i}, to='Zürich')]"))
        .collect()
}

fn train(folder: &std::path::Path) {
    bpe::train(texts().iter().map(String::as_str), 280, folder).unwrap();
}

#[test]
fn a_trained_tokenizer_is_the_same_each_time_and_loads() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    train(one.path());
    train(two.path());
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        assert_eq!(
            fs::read(one.path().join(name)).unwrap(),
            fs::read(two.path().join(name)).unwrap(),
            "{name}"
        );
    }
    let chat = Chat::load(one.path()).unwrap();
    assert_eq!((chat.end_of_turn(), chat.tokenizer().vocabulary()), (2, 280));
    let text = "Fly to 東京 at 12:45, `a\tb`";
    let ids = chat.tokenizer().encode(text).unwrap();
    assert_eq!(chat.tokenizer().decode(&ids).unwrap(), text);
    let message = |role, content: &str| Message { role, content: content.to_owned() };
    let chat_text = [message(Role::System, "be brief"), message(Role::User, "hi")];
    assert_eq!(
        chat.template().render(&chat_text, true).unwrap(),
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(chat.prompt_ids(&chat_text).unwrap()[0], 1);
    let answer = chat.answer_ids("[f()]", true).unwrap();
    assert_eq!(answer.last(), Some(&2));
    assert_eq!(chat.answer_ids("[f()]", false).unwrap(), answer[..answer.len() - 1]);
}

#[test]
fn a_value_has_the_same_tokens_in_a_request_and_in_a_call() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let tokenizer = Chat::load(folder.path()).unwrap().tokenizer().clone();
    let ids = |text: &str| tokenizer.encode(text).unwrap();
    let request = ids("Row 755 hours on Silver lake, at 45.89, with lumen_ledger.");
    let call = ids("[lumen_ledger(a=755, b='Silver lake', c=45.89)]");
    for value in ["755", "Silver lake", "45.89", "lumen_ledger"] {
        let value = ids(value);
        assert!([&request, &call].iter().all(|text| text.windows(value.len()).any(|part| part == value)));
    }
}

#[test]
fn a_vocabulary_smaller_than_the_bytes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = bpe::train(["a"], 100, folder.path()).unwrap_err().to_string();
    assert!(error.contains("100") && error.contains("259"), "{error}");
}

#[test]
fn a_missing_file_is_named_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let error = Tokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && !error.contains('\n'), "{error}");
    let error = ChatTemplate::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("chat_template.jinja") && !error.contains('\n'), "{error}");
    train(folder.path());
    fs::write(folder.path().join("tokenizer.json"), "{\"model\":").unwrap();
    let error = Chat::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json") && !error.contains('\n'), "{error}");
}

#[test]
fn the_template_may_stand_in_the_settings_under_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let settings = serde_json::json!({
        "bos_token": {"content": "<s>"},
        "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ bos_token }}yes"}],
    });
    fs::write(folder.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
    assert_eq!(ChatTemplate::load(folder.path()).unwrap().render(&[], false).unwrap(), "<s>yes");
}

#[test]
fn end_tokens_come_from_the_generation_settings_first() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [0, 7]}"#).unwrap();
    fs::write(folder.path().join("config.json"), r#"{"eos_token_id": 9}"#).unwrap();
    let chat = Chat::load(folder.path()).unwrap();
    assert_eq!((chat.end_of_turn(), chat.stops()), (2, [0, 7, 2].as_slice()));
}
