//! The real BFCL files: the paper's tool counts, and that synthesis over all of them is quick, valid and repeatable.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test helpers fail by panicking and say what they skip"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jobs_data::{Prepared, marks, prepare, validate};
use jobs_spec::category::Category;
use jobs_spec::manifest::{Bfcl, Dataset, Synthesis};

/// The shared test data, or `None` (said aloud) in a checkout without it.
fn shared() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/bfcl"));
    if path.exists() {
        return Some(path.to_owned());
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} not found", path.display());
    println!("skipped: {} not found", path.display());
    None
}

fn prepared(root: &Path, categories: &[Category], tools: Option<usize>) -> Prepared {
    let (path, categories) = (PathBuf::from("."), categories.to_vec());
    let dataset = Dataset::Bfcl(Bfcl { path, categories, tools, synthesis: Synthesis::default() });
    prepare(&dataset, root).unwrap()
}

#[test]
fn the_six_categories_give_the_papers_counts() {
    let Some(root) = shared() else { return };
    let started = std::time::Instant::now();
    let all = prepared(&root, &Category::ALL, None);
    println!("prepared in {:.1?}", started.elapsed());
    println!("{}", all.notes.join("\n"));
    let counts = [
        "multiple: 200 entries, 468 tools by parameters, 480 by whole document",
        "parallel: 200 entries, 197 tools by parameters, 198 by whole document",
        "parallel_multiple: 200 entries, 462 tools by parameters, 482 by whole document",
        "live_multiple: 1053 entries, 1029 tools by parameters, 1073 by whole document",
        "live_parallel: 16 entries, 18 tools by parameters, 18 by whole document",
        "live_parallel_multiple: 24 entries, 82 tools by parameters, 82 by whole document",
        "2034 distinct tools by whole document in all",
    ];
    assert_eq!(all.notes[..7], counts);
    assert_eq!(all.training.tools.len(), 2034);

    let tools: HashMap<&str, _> = all.training.tools.iter().map(|tool| (tool.key.as_str(), tool)).collect();
    for trace in &all.training.traces {
        let (text, mark) = marks::split(&trace.answer);
        assert_eq!(mark.is_some(), trace.category.is_multi_step());
        let named =
            |name: &str| trace.candidates.iter().map(|key| tools[key.as_str()]).find(|t| t.name == name);
        let calls = validate::answer(text, named).unwrap_or_else(|e| panic!("{e}: {trace:?}"));
        assert!(calls.iter().all(|call| call.name == tools[trace.tool.as_str()].name));
    }
    let expected = 2034 * 140;
    assert!(all.training.traces.len() * 100 > expected * 97, "{} traces", all.training.traces.len());
}

#[test]
fn the_first_tools_keep_the_entries_that_need_no_other() {
    let Some(root) = shared() else { return };
    let few = prepared(&root, &[Category::Multiple], Some(12));
    assert_eq!(few.training.tools.len(), 12);
    let kept: Vec<&str> = few.training.tools.iter().map(|tool| tool.key.as_str()).collect();
    let entries = &few.entries[&Category::Multiple].entries;
    assert!(!entries.is_empty() && entries.len() < 12);
    assert!(entries.iter().flat_map(|entry| &entry.candidates).all(|tool| kept.contains(&tool.key.as_str())));
    assert_eq!(prepared(&root, &[Category::Multiple], Some(12)).training, few.training);
}
