//! `runner bench fan` on the example base: what it reports, that company changes no loss, and how it refuses.

#![expect(clippy::unwrap_used, reason = "a test that cannot start fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::{binary, root};

/// Sequences of unequal lengths for three tools, two each.
fn sequences() -> String {
    let line = |i: usize| {
        let ids = |count: usize, step: usize| (0..count).map(|at| (at * step + i) % 1600).collect::<Vec<_>>();
        json!({"tool": format!("tool-{}", i % 3), "prompt": ids(5 + 7 * i, 31), "completion": ids(3 + i, 17)})
    };
    (0..6).map(|i| format!("{}\n", line(i))).collect()
}

fn bench(sequences: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(binary("runner"));
    command.args(["bench", "fan", "--model"]).arg(root().join("examples/tiny-base"));
    command.arg("--sequences").arg(sequences).args(options).output().unwrap()
}

fn measured(sequences: &Path, options: &[&str]) -> Value {
    let output = bench(sequences, &[options, &["--epochs", "2", "--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn it_counts_real_tokens_and_company_changes_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sequences.jsonl");
    fs::write(&file, sequences()).unwrap();
    let together = measured(&file, &["--slots", "3"]);
    assert_eq!((together["steps"].as_u64(), together["passes"].as_u64()), (Some(12), Some(4)));
    let tokens: usize = (0..6).map(|i| 2 * (8 + 8 * i)).sum();
    assert_eq!(together["tokens"], tokens);
    for number in
        ["tokens_per_s", "steps_per_s", "seconds", "load_seconds", "mean_tokens_per_pass", "peak_rss_bytes"]
    {
        assert!(together[number].as_f64().unwrap() > 0.0, "{number}");
    }
    for options in [["--slots", "1"], ["--recompute", "elementwise"], ["--recompute", "layers"]] {
        let other = measured(&file, &options);
        assert_eq!(other["mean_last_epoch_loss"], together["mean_last_epoch_loss"], "{options:?}");
    }
}

#[test]
fn the_memory_plan_chooses_and_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sequences.jsonl");
    fs::write(&file, sequences()).unwrap();
    let roomy = measured(&file, &["--slots", "3"]);
    let planned = |measured: &Value| measured["planned_bytes"].as_u64().unwrap();
    assert_eq!(roomy["recompute"], "nothing");
    let tight = (planned(&roomy) - 1).to_string();
    let tight = measured(&file, &["--slots", "3", "--memory", &tight]);
    assert_eq!(tight["recompute"], "elementwise");
    assert!(planned(&tight) < planned(&roomy));
    assert_eq!(tight["mean_last_epoch_loss"], roomy["mean_last_epoch_loss"]);
    let refused = bench(&file, &["--slots", "300", "--memory", "60000000"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.lines().count() == 1, "{said}");
    assert!(said.starts_with("error: 300 slots and passes of ") && said.contains("slots: "), "{said}");
}

#[test]
fn warm_up_is_in_no_figure_and_drawn_weights_need_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sequences.jsonl");
    fs::write(&file, sequences()).unwrap();
    let warm = measured(&file, &["--slots", "3", "--warm-up", "1"]);
    assert_eq!((warm["steps"].as_u64(), warm["passes"].as_u64()), (Some(9), Some(3)));
    let too_long = bench(&file, &["--slots", "3", "--warm-up", "9"]);
    assert!(String::from_utf8_lossy(&too_long.stderr).contains("--warm-up 9: the file has 2 passes"));

    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    fs::copy(root().join("examples/tiny-base/config.json"), model.join("config.json")).unwrap();
    let drawn = |precision: &str| {
        let options = ["--json", "--random", "1", "--precision", precision];
        let mut command = Command::new(binary("runner"));
        command.args(["bench", "fan", "--model"]).arg(&model).arg("--sequences").arg(&file).args(options);
        serde_json::from_slice::<Value>(&command.output().unwrap().stdout).unwrap()
    };
    let loss = |measured: &Value| measured["mean_last_epoch_loss"].as_f64().unwrap();
    let (exact, rounded) = (drawn("f32"), drawn("bf16"));
    assert_eq!((&exact["precision"], &rounded["precision"]), (&json!("f32"), &json!("bf16")));
    assert!((loss(&exact) / loss(&rounded) - 1.0).abs() < 0.02, "{exact} {rounded}");
}

#[test]
fn gates_and_products_report() {
    let run = |options: &[&str]| {
        let output =
            Command::new(binary("runner")).arg("bench").args(options).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let gates = run(&["gates"]);
    assert_eq!(gates.len(), 3);
    // The CPU against itself: equal in f32, rounded in bf16.
    assert_eq!((&gates[0]["gate"], &gates[0]["value"]), (&json!("gradients f32"), &json!(0.0)));
    assert!(gates[1]["value"].as_f64().unwrap() > 1e-3, "{}", gates[1]);
    let product = run(&["product", "--rows", "8", "--depth", "16", "--width", "4", "--precision", "bf16"]);
    assert!(product[0]["tflops"].as_f64().unwrap() > 0.0);
    let gpu =
        Command::new(binary("runner")).args(["bench", "gates", "--device", "cuda:99"]).output().unwrap();
    let said = String::from_utf8_lossy(&gpu.stderr);
    assert!(!gpu.status.success() && said.starts_with("error: device `cuda:99`: "), "{said}");
}

#[test]
fn mistakes_are_one_line_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sequences.jsonl");
    let name = file.display();
    for (text, expected) in [
        (String::new(), format!("{name}: no line")),
        (format!("{}{{\"tool\": 3}}\n", sequences()), format!("{name}:7: invalid type")),
        (r#"{"tool": "a", "prompt": [1], "completion": [99999]}"#.to_owned(), "token id 99999".to_owned()),
        (
            r#"{"tool": "a", "prompt": [1], "completion": []}"#.to_owned(),
            "task a: a sample without".to_owned(),
        ),
    ] {
        fs::write(&file, text).unwrap();
        let output = bench(&file, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.lines().count() == 1, "{said}");
        assert!(said.contains(&expected), "{said}: expected {expected}");
    }
    fs::remove_file(&file).unwrap();
    let output = bench(&file, &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("{name}: No such file")));
}
