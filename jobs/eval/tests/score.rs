//! Data files, the checker's rules and the scoring of output files, on a small data set of our own.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::path::PathBuf;

use jobs_eval::bfcl::{Category, read_category};
use jobs_eval::score::{ScoreError, Summary, score_file};

const PROMPT: &str = r#"{"id": "multiple_0", "question": [[{"role": "user", "content": "?"}]], "function": [
    {"name": "m.f", "description": "", "parameters": {"type": "dict", "required": ["s"], "properties": {
        "s": {"type": "string"}, "n": {"type": "integer"}, "x": {"type": "float"}, "b": {"type": "boolean"},
        "l": {"type": "array", "items": {"type": "string"}}, "t": {"type": "tuple", "items": {"type": "integer"}},
        "d": {"type": "dict"}, "ds": {"type": "array", "items": {"type": "dict"}}, "v": {"type": "integer"}}}},
    {"name": "g", "description": "", "parameters": {"type": "dict", "required": [], "properties": {"u": {"type": "any"}}}}]}"#;

const ANSWER: &str = r#"{"id": "multiple_0", "ground_truth": [{"m.f": {
    "s": ["It's New-York"], "n": [1, ""], "x": [2.0, ""], "b": [true, ""], "l": [["a b", "c"], ""], "t": [[1, 2], ""],
    "d": [{"k": ["v", 1], "o": ["", 2]}, ""], "ds": [[{"k": [1]}, {"k": [2]}], ""], "v": ["total", ""], "w": [""]}}]}"#;

/// A folder with one entry a category; parallel ones ask for `g(u='1')` and `g(u='2')`.
fn data_set(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(dir.join("possible_answer")).unwrap();
    let line = |text: &str| text.replace('\n', " ") + "\n";
    let parallel = r#"{"id": "parallel_0", "ground_truth": [{"g": {"u": ["1", "2"]}}, {"g": {"u": ["2"]}}]}"#;
    let prompt = PROMPT.replace("multiple_0", "parallel_0");
    let live =
        r#"{"id": "live_multiple_0", "ground_truth": [{"m.f": {"s": ["", "x"], "l": [["a"]], "d": [""]}}]}"#;
    let live_prompt = PROMPT.replace("multiple_0", "live_multiple_0");
    for (category, prompt, answer) in [
        ("live_multiple", live_prompt.as_str(), live),
        ("multiple", PROMPT, ANSWER),
        ("parallel", &prompt, parallel),
    ] {
        std::fs::write(dir.join(format!("BFCL_v4_{category}.json")), line(prompt)).unwrap();
        std::fs::write(dir.join(format!("possible_answer/BFCL_v4_{category}.json")), line(answer)).unwrap();
    }
    dir
}

fn score(outputs: &str, name: &str) -> (Result<Summary, ScoreError>, String) {
    let mut out = Vec::new();
    let summary = score_file(&data_set(name), "outputs.jsonl", outputs.as_bytes(), &mut out);
    (summary, String::from_utf8(out).unwrap())
}

fn output(category: &str, text: &str) -> String {
    serde_json::json!({"id": format!("{category}_0"), "category": category, "model_output": text}).to_string()
        + "\n"
}

#[test]
fn every_rule_of_the_checker_has_its_error_type() {
    let big = "1".repeat(400);
    let cases = [
        ("m.f(s='its newyork')", Some("value_error:string")),
        ("m.f(s=' IT\"S, new_york.')", None),
        ("m.f(s='It\\'s\\tNew York')", Some("value_error:string")),
        ("m.f(s=b'It')", Some("type_error:simple")),
        ("g(s=1)", Some("simple_function_checker:wrong_func_name")),
        ("m . f(n=1)", Some("simple_function_checker:missing_required")),
        ("m.f(s='it\\'s newyork', q=1)", Some("simple_function_checker:unexpected_param")),
        ("m.f(s='it\\'s newyork', w='')", Some("simple_function_checker:unexpected_param")),
        ("m.f(s='it\\'s newyork', n=True)", Some("type_error:simple")),
        ("m.f(s='it\\'s newyork', n=+1)", Some("value_error:others")),
        ("m.f(s='it\\'s newyork', n=2 - 1)", None),
        ("m.f(s='it\\'s newyork', n='')", Some("type_error:simple")),
        ("m.f(s='it\\'s newyork', x=2)", None),
        (&format!("m.f(s='it\\'s newyork', x={big})"), Some("checker_raised:int_too_large_for_float")),
        ("m.f(s='it\\'s newyork', b=1)", Some("type_error:simple")),
        ("m.f(s='it\\'s newyork', b=False)", Some("value_error:others")),
        ("m.f(s='it\\'s newyork', l=['A-B', 'c.'])", None),
        ("m.f(s='it\\'s newyork', l=[])", None),
        ("m.f(s='it\\'s newyork', l=['c', 'a b'])", Some("value_error:list/tuple")),
        ("m.f(s='it\\'s newyork', l=('a b', 'c'))", Some("type_error:simple")),
        ("m.f(s='it\\'s newyork', t=(1, 2))", None),
        ("m.f(s='it\\'s newyork', t=[1.0, 2])", None),
        ("m.f(s='it\\'s newyork', d={'k': 'V', 'o': 2.0})", None),
        ("m.f(s='it\\'s newyork', d={k: True})", None),
        ("m.f(s='it\\'s newyork', d={'k': 2})", Some("value_error:dict_value")),
        ("m.f(s='it\\'s newyork', d={'z': 2})", Some("value_error:dict_key")),
        ("m.f(s='it\\'s newyork', d={})", Some("value_error:dict_key")),
        ("m.f(s='it\\'s newyork', ds=[{'k': 1}, {'k': 2}])", None),
        ("m.f(s='it\\'s newyork', ds=[{'k': 2}, {'k': 1}])", Some("value_error:list_dict_count")),
        ("m.f(s='it\\'s newyork', ds=[{'k': 1}])", Some("value_error:list_dict_count")),
        ("m.f(s='it\\'s newyork', v='total')", None),
        ("m.f(s='it\\'s newyork', v=total)", None),
        ("m.f(s='it\\'s newyork', v='Total')", Some("value_error:others")),
        ("m.f(s='it\\'s newyork', v=1)", Some("value_error:others")),
        ("m.f(s='it\\'s newyork'), g()", Some("multiple_function_checker:wrong_count")),
        ("", Some("multiple_function_checker:wrong_count")),
        ("I cannot do that.", Some("ast_decoder:decoder_failed")),
    ];
    let outputs: String = cases.iter().map(|(text, _)| output("multiple", text)).collect();
    let (summary, lines) = score(&outputs, "rules");
    for ((text, error_type), line) in cases.iter().zip(lines.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["error_type"].as_str(), *error_type, "{text}");
        assert_eq!(line["verdict"].as_bool(), Some(error_type.is_none()), "{text}");
    }
    let tally = summary.unwrap().categories[&Category::Multiple];
    assert_eq!(tally.correct, cases.iter().filter(|(_, error)| error.is_none()).count() as u64);
    assert_eq!(tally.total, cases.len() as u64);
}

#[test]
fn lists_that_must_be_given_are_checked_by_element() {
    let cases = [
        ("m.f(s='.', l=['A'])", None),
        ("m.f(s='x')", Some("simple_function_checker:missing_optional")),
        ("m.f(s='x', l=[1])", Some("type_error:nested")),
        ("m.f(s='x', l=['b'])", Some("value_error:list/tuple")),
        ("m.f(s='x', l='a')", Some("type_error:simple")),
        ("m.f(s='x', l=['a'], d={})", Some("dict_checker:unclear")),
    ];
    let outputs: String = cases.iter().map(|(text, _)| output("live_multiple", text)).collect();
    let (_, lines) = score(&outputs, "lists");
    for ((text, error_type), line) in cases.iter().zip(lines.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["error_type"].as_str(), *error_type, "{text}");
    }
}

#[test]
fn parallel_calls_match_in_any_order_but_greedily() {
    let outputs: String = [
        output("parallel", "[g(u='1'), g(u='2')]"),
        output("parallel", "[g(u='2'), g(u='1')]"),
        output("parallel", "[g(u='2'), g(u='2')]"),
        output("parallel", "[g(u='2')]"),
        output("multiple", "[m.f(s='it\\'s newyork')]"),
    ]
    .concat();
    let (summary, lines) = score(&outputs, "parallel");
    let expected = "\
{\"id\":\"parallel_0\",\"category\":\"parallel\",\"verdict\":true,\"error_type\":null}
{\"id\":\"parallel_0\",\"category\":\"parallel\",\"verdict\":false,\"error_type\":\"parallel_function_checker_no_order:cannot_find_match\"}
{\"id\":\"parallel_0\",\"category\":\"parallel\",\"verdict\":true,\"error_type\":null}
{\"id\":\"parallel_0\",\"category\":\"parallel\",\"verdict\":false,\"error_type\":\"parallel_function_checker_no_order:wrong_count\"}
{\"id\":\"multiple_0\",\"category\":\"multiple\",\"verdict\":true,\"error_type\":null}
";
    assert_eq!(lines, expected);
    let summary = summary.unwrap();
    assert_eq!((summary.unweighted, summary.weighted), (Some(0.75), Some(0.6)));
}

#[test]
fn a_broken_output_line_is_named() {
    let cases = [
        ("{", "outputs.jsonl:2: line: not JSON"),
        ("[]", "outputs.jsonl:2: id: expected a string"),
        (r#"{"id": "multiple_0", "model_output": ""}"#, "outputs.jsonl:2: category: expected a string"),
        (
            r#"{"id": "multiple_0", "category": "simple", "model_output": ""}"#,
            "outputs.jsonl:2: category: `simple` is not a category",
        ),
        (
            r#"{"id": "multiple_1", "category": "multiple", "model_output": ""}"#,
            "outputs.jsonl:2: id: multiple has no entry multiple_1",
        ),
        (
            r#"{"id": "multiple_0", "category": "multiple", "model_output": 1}"#,
            "outputs.jsonl:2: model_output: expected a string",
        ),
    ];
    for (line, message) in cases {
        let (summary, _) = score(&(output("multiple", "[]") + line), "broken-lines");
        let error = summary.unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn a_broken_data_file_is_named() {
    let cases = [
        (
            "BFCL_v4_multiple.json",
            r#""s": {"type": "string"}"#,
            r#""s": {"type": "str"}"#,
            "BFCL_v4_multiple.json:1: function[0].parameters.properties.s.type: unknown type",
        ),
        (
            "BFCL_v4_multiple.json",
            r#""required": ["s"]"#,
            r#""required": "s""#,
            "BFCL_v4_multiple.json:1: function[0].parameters.required: expected a list of strings",
        ),
        (
            "BFCL_v4_multiple.json",
            r#""items": {"type": "string"}"#,
            r#""items": {}"#,
            "BFCL_v4_multiple.json:1: function[0].parameters.properties.l.items.type: expected a type name",
        ),
        ("BFCL_v4_multiple.json", r#"[[{"role""#, r#"[{"role""#, "BFCL_v4_multiple.json:1: line: not JSON"),
        (
            "possible_answer/BFCL_v4_multiple.json",
            "multiple_0",
            "multiple_1",
            "possible_answer/BFCL_v4_multiple.json:1: id: differs from the id of the prompt",
        ),
        (
            "possible_answer/BFCL_v4_multiple.json",
            r#""n": [1, ""]"#,
            r#""n": 1"#,
            "possible_answer/BFCL_v4_multiple.json:1: ground_truth[0].m.f.n: expected a list of values",
        ),
        (
            "possible_answer/BFCL_v4_multiple.json",
            "m.f",
            "m.h",
            "possible_answer/BFCL_v4_multiple.json:1: ground_truth[0]: calls a function that the prompt does not offer",
        ),
    ];
    for (file, old, new, message) in cases {
        let dir = data_set("broken-data");
        let path = dir.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{old}");
        std::fs::write(&path, text.replacen(old, new, 1)).unwrap();
        let error = read_category(&dir, Category::Multiple).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let error = read_category(&data_set("broken-data"), Category::LiveParallel).unwrap_err().to_string();
    assert!(error.contains("BFCL_v4_live_parallel.json: "), "{error}");
}
