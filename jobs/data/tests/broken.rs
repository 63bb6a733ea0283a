//! Broken input gets one line that names file, line and field; nothing panics.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::path::Path;

use jobs_data::set::{EntrySet, TrainingSet};
use jobs_data::toolbox::{Options, generate};
use jobs_data::{prepare, records};
use jobs_spec::category::Category;
use jobs_spec::manifest::{Bfcl, Dataset, Records, Synthesis};
use serde_json::{Value, json};

/// The error of reading one record line, without the folder; the line before it is fine.
fn record_error(line: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("multiple.jsonl"), format!("{}\n{line}\n", record(trace()))).unwrap();
    let dataset = Dataset::Records(Records { path: dir.path().to_owned(), categories: None });
    let message = prepare(&dataset, Path::new("/")).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message.replace(&format!("{}/", dir.path().display()), "")
}

fn tool() -> Value {
    json!({"name": "f", "description": "", "parameters": {"type": "dict", "required": ["a"],
        "properties": {"a": {"type": "integer"}}}})
}

fn trace() -> Value {
    json!({"question": [[{"role": "user", "content": "Do 1."}]], "candidate_tools": [tool()], "answer": "[f(a=1)]"})
}

fn record(trace: Value) -> Value {
    let mut function = tool();
    function["training_data"] = json!([trace]);
    json!({"id": 0, "function": [function]})
}

fn with(field: &str, value: Value) -> String {
    let mut trace = trace();
    trace[field] = value;
    record(trace).to_string()
}

#[test]
fn broken_records_are_named_by_place() {
    let at = "multiple.jsonl:2: function[0].training_data[0]";
    assert!(record_error("{\"id\":").starts_with("multiple.jsonl:2: line: not JSON: EOF"));
    assert!(record_error("").starts_with("multiple.jsonl:2: line: not JSON"));
    assert_eq!(record_error("[]"), "multiple.jsonl:2: line: expected an object");
    assert_eq!(record_error("{}"), "multiple.jsonl:2: function: missing");
    assert_eq!(
        record_error(r#"{"function": [{"name": "f"}]}"#),
        "multiple.jsonl:2: function[0].parameters: expected an object"
    );
    let question = json!([["x"]]);
    let message = format!("{at}.question[0][0]: expected a message {{role, content}} or a list of them");
    assert_eq!(record_error(&with("question", question)), message);
    for (answer, what) in [
        (json!(3), "expected a string"),
        (json!("[f(a=1"), "not a list of Python calls"),
        (json!("[]"), "no call in the list"),
        (json!("[g(a=1)]"), "`g` is no candidate"),
        (json!("[f()]"), "`f` needs `a`"),
        (json!("[f(a='x')]"), "`a` of `f` is not convertible to integer"),
        (json!("[f(a=1)]<CALL_END>"), "has a status mark, which does not suit `multiple`"),
    ] {
        assert_eq!(record_error(&with("answer", answer)), format!("{at}.answer: {what}"));
    }
    let mut other = tool();
    other["name"] = json!("g");
    let message = format!("{at}.candidate_tools: `f` itself is not among them");
    assert_eq!(record_error(&with("candidate_tools", json!([other]))), message);
}

#[test]
fn traces_without_candidates_and_repeated_ones_are_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let lines =
        [record(trace()).to_string(), with("candidate_tools", json!([])), record(trace()).to_string()];
    fs::write(dir.path().join("multiple.jsonl"), lines.join("\n")).unwrap();
    let dataset = Dataset::Records(Records { path: "multiple".into(), categories: None });
    assert!(
        prepare(&dataset, dir.path()).unwrap_err().to_string().contains("none of the files multiple.jsonl")
    );
    let dataset = Dataset::Records(Records { path: ".".into(), categories: None });
    let prepared = prepare(&dataset, dir.path()).unwrap();
    assert_eq!(
        prepared.notes,
        ["1 traces of 1 tools", "dropped: 1 traces without candidates", "dropped: 1 repeated traces"]
    );
}

#[test]
fn the_stepwise_targets_of_stabletoolbench_are_read() {
    let step = json!({"question": "q", "candidate_tools": [tool()], "thought": "hm", "action": "f", "input": {"a": 1}});
    let read =
        |trace: Value| records::Record::parse(&record(trace)).map(|r| r.tools[0].traces[0].target.clone());
    let text = "Thought: hm\nAction: f\nAction Input: {\"a\":1}\nEnd Action".to_owned();
    assert_eq!(read(step.clone()), Ok(records::Target::Step { text, action: "f".to_owned() }));
    let mut raw = step;
    raw["raw_react_full"] = json!(" ");
    raw["raw_react"] = json!("Thought: x\nAction: f\nAction Input: {}\nEnd Action");
    let text = raw["raw_react"].as_str().unwrap().to_owned();
    assert_eq!(read(raw), Ok(records::Target::Step { text, action: "f".to_owned() }));
}

#[test]
fn missing_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = |dataset| prepare(&dataset, dir.path()).unwrap_err().to_string();
    let categories = Some(vec![Category::Parallel]);
    assert!(message(Dataset::Records(Records { path: "x".into(), categories })).contains("parallel.jsonl: "));
    let (path, categories) = ("x".into(), vec![Category::Multiple]);
    let bfcl = Bfcl { path, categories, tools: None, synthesis: Synthesis::default() };
    assert!(message(Dataset::Bfcl(bfcl)).contains("BFCL_v4_multiple.json: "));
    assert!(TrainingSet::read(dir.path()).unwrap_err().to_string().contains("tools.jsonl: "));
    fs::write(dir.path().join("entries.jsonl"), "").unwrap();
    assert!(EntrySet::read(dir.path()).unwrap_err().to_string().contains("entries.jsonl: no line in it"));
}

#[test]
fn sets_are_checked_when_read() {
    let dir = tempfile::tempdir().unwrap();
    let read = |tools: &str, traces: &str| {
        fs::write(dir.path().join("tools.jsonl"), tools).unwrap();
        fs::write(dir.path().join("traces.jsonl"), traces).unwrap();
        let message = TrainingSet::read(dir.path()).unwrap_err().to_string();
        message.replace(&format!("{}/", dir.path().display()), "")
    };
    let key = jobs_data::tool::Tool::new(tool()).unwrap().key;
    let tools = json!({"key": key, "schema": tool()}).to_string();
    assert!(
        read(&json!({"key": "0", "schema": tool()}).to_string(), "")
            .starts_with("tools.jsonl:1: key: the schema's")
    );
    assert_eq!(read(&format!("{tools}\n{tools}"), ""), "tools.jsonl:2: key: this tool is listed twice");
    let trace = |category: &str, candidates: &[&str]| {
        json!({"category": category, "tool": key, "question": "", "candidates": candidates, "answer": ""})
            .to_string()
    };
    assert!(read(&tools, &trace("simple", &[])).starts_with("traces.jsonl:1: category: `simple` is not"));
    assert!(read(&tools, &trace("multiple", &[])).ends_with("candidates: the called tool is not among them"));
    assert!(read(&tools, &trace("multiple", &[&key, "x"])).ends_with("candidates: x is not in tools.jsonl"));
}

#[test]
fn a_broken_tools_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tools.json");
    let message = |text: &str| {
        fs::write(&path, text).unwrap();
        let error = generate(&path, dir.path(), 0, &Options::default()).unwrap_err().to_string();
        error.replace(&format!("{}: ", path.display()), "")
    };
    assert!(message("{").starts_with("document: not a JSON list: "));
    assert_eq!(message("[]"), "document: expected at least five tools");
    assert_eq!(message(&json!([tool()]).to_string()), "[0].phrasings: missing");
    let mut asked = tool();
    asked["phrasings"] = json!(["Do {b}"]);
    assert_eq!(message(&json!([asked]).to_string()), "[0].phrasings: `Do {b}`: no parameter `b`");
}
