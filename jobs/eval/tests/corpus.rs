//! The decoder and checker against the verdicts of the official package.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test helpers fail by panicking and report by printing"
)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use jobs_eval::bfcl::{Category, Entry, judge, read_category, render_calls};

/// A file of the shared test data; `None`, with a note, where it is absent outside of CI.
fn shared(path: &str) -> Option<PathBuf> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(path);
    if full.exists() {
        return Some(full);
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "shared/data/{path} is missing");
    println!("skipped: shared/data/{path} not found");
    None
}

fn entries() -> Option<HashMap<String, Entry>> {
    let dir = shared("bfcl")?;
    let read = |category| read_category(&dir, category).unwrap();
    Some(Category::ALL.into_iter().flat_map(read).map(|e| (e.id.0.clone(), e)).collect())
}

fn verdict(entry: &Entry, text: &str) -> Option<String> {
    judge(entry, text).err().map(|e| e.to_string())
}

fn cases(file: impl Read) -> impl Iterator<Item = serde_json::Value> {
    BufReader::new(file).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

/// `BFCL_CORPUS` names another corpus of the same format to check instead.
#[test]
fn corpus_agrees() {
    let other = std::env::var_os("BFCL_CORPUS").map(PathBuf::from);
    let (Some(entries), Some(path)) =
        (entries(), other.or_else(|| shared("bfcl-checker/corpus-dev.jsonl.gz")))
    else {
        return;
    };
    let (mut count, mut wrong) = (0, 0);
    for case in cases(GzDecoder::new(File::open(path).unwrap())) {
        let text = case["model_output"].as_str().unwrap();
        let ours = verdict(&entries[case["id"].as_str().unwrap()], text);
        count += 1;
        if ours.as_deref() != case["error_type"].as_str()
            || ours.is_none() != case["verdict"].as_bool().unwrap()
        {
            wrong += 1;
            println!("{}: ours {ours:?}, official {}, text {text:?}", case["case"], case["error_type"]);
        }
    }
    println!("{count} cases, {wrong} mismatches");
    assert!(count > 0 && wrong == 0, "{wrong} of {count} verdicts differ from the official ones");
}

#[test]
fn where_the_official_checker_raises_the_output_is_false_with_a_reason_of_our_own() {
    let (Some(entries), Some(path)) = (entries(), shared("bfcl-checker/checker-raises.jsonl")) else {
        return;
    };
    for case in cases(File::open(path).unwrap()) {
        let ours = verdict(&entries[case["id"].as_str().unwrap()], case["model_output"].as_str().unwrap());
        assert_eq!(ours.as_deref(), Some("checker_raised:int_too_large_for_float"), "{}", case["id"]);
    }
}

#[test]
fn every_gold_answer_passes_but_two() {
    let Some(entries) = entries() else { return };
    let mut failed = Vec::new();
    for entry in entries.values() {
        let calls: Vec<_> = entry.gold.iter().map(|g| g.first_answer(entry.doc(&g.name).unwrap())).collect();
        if judge(entry, &render_calls(&calls)).is_err() {
            failed.push(entry.id.0.as_str());
        }
    }
    failed.sort_unstable();
    assert_eq!(failed, ["live_multiple_862-181-3", "live_multiple_964-207-0"]);
    assert_eq!(entries.len(), 1693);
}
