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
