//! Plans over real data: the example toolbox, and BFCL's own files where they are at hand.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

mod common;

use std::path::{Path, PathBuf};

use common::Place;
use serde_json::Value;

/// A folder beside or in the checkout.
fn folder(path: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if folder.is_dir() {
        return Some(folder.canonicalize().unwrap());
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} is missing", folder.display());
    eprintln!("skipped: {} not found", folder.display());
    None
}

fn jobs(plan: &Value, stage: &str) -> u64 {
    let stages = plan["stages"].as_array().unwrap().iter();
    stages.filter(|planned| planned["stage"] == stage).map(|planned| planned["new"].as_u64().unwrap()).sum()
}

fn plan(place: &Place, dataset: &str, evaluate: &str) -> Value {
    place.write(
        "demo.yaml",
        &format!("name: demo\nbase: {{path: base}}\ndataset: {dataset}\nevaluate: {evaluate}\n"),
    );
    place.json(&["plan", "demo.yaml", "--json"])
}

#[test]
fn the_toolbox_has_an_adapter_for_each_tool_and_every_category() {
    let Some(toolbox) = folder("examples/toolbox") else { return };
    let plan = plan(&Place::new(), &format!("{{records: {{path: {}}}}}", toolbox.display()), "{}");
    assert_eq!(jobs(&plan, "pretrain"), 24);
    assert_eq!(jobs(&plan, "evaluate"), 5 * 6);
}

#[test]
fn twelve_tools_of_bfcl_multiple() {
    let Some(bfcl) = folder("../shared/data/bfcl") else { return };
    let dataset = format!("{{bfcl: {{path: {}, categories: [multiple], tools: 12}}}}", bfcl.display());
    let plan = plan(&Place::new(), &dataset, "{}");
    assert_eq!((jobs(&plan, "pretrain"), jobs(&plan, "evaluate")), (12, 5));
}

/// An adapter is a tool's whole document: two tools whose parameters alone are equal have one each.
#[test]
fn all_six_categories_of_bfcl() {
    let Some(bfcl) = folder("../shared/data/bfcl") else { return };
    let plan = plan(&Place::new(), &format!("{{bfcl: {{path: {}}}}}", bfcl.display()), "{}");
    assert_eq!((jobs(&plan, "pretrain"), jobs(&plan, "evaluate")), (2034, 30));
    let notes = plan["notes"].to_string();
    for (category, tools) in [
        ("multiple", 468),
        ("parallel", 197),
        ("parallel_multiple", 462),
        ("live_multiple", 1029),
        ("live_parallel", 18),
        ("live_parallel_multiple", 82),
    ] {
        let counted = notes.split('"').find(|note| note.starts_with(&format!("{category}:"))).unwrap();
        assert!(counted.contains(&format!(", {tools} tools by parameters")), "{counted}");
    }
}
