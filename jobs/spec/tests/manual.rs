//! `docs/manifest.md` is complete and right: it lists exactly the fields of the types, with their defaults, and its example is valid.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jobs_spec::category::Category;
use jobs_spec::manifest::{
    Base, BaseTraining, Bfcl, Dataset, Evaluate, Manifest, Records, Stages, Synthesis, parse,
};
use serde_json::Value;

fn manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.md");
    std::fs::read_to_string(path).unwrap()
}

/// Field → default, of every table row.
fn documented() -> BTreeMap<String, String> {
    manual()
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 4, "{row}");
            (cells[0].trim_end_matches(['`', ' ', '¹']).to_owned(), cells[2].to_owned())
        })
        .collect()
}

/// Every field that a manifest can have, with its value here.
fn fields(value: &Value, path: &str, into: &mut BTreeMap<String, String>) {
    match value {
        // Mappings whose keys a person chooses are fields in themselves.
        Value::Object(map) if !matches!(path, "matrix" | "stages.gate.lambda_by_category") => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                fields(value, &path, into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            into.insert(path.to_owned(), value.to_string());
            items.iter().for_each(|item| fields(item, &format!("{path}[]"), into));
        }
        Value::String(text) => {
            into.insert(path.to_owned(), text.clone());
        }
        other => {
            into.insert(path.to_owned(), other.to_string());
        }
    }
}

/// Defaults of all fields, over both kinds of base and of dataset.
fn defined() -> BTreeMap<String, String> {
    let bfcl = Bfcl {
        path: "x".into(),
        categories: Category::ALL.to_vec(),
        tools: None,
        synthesis: Synthesis::default(),
    };
    let kinds = [
        (Base::Path("x".into()), Dataset::Records(Records { path: "x".into(), categories: None })),
        (Base::Train(BaseTraining::default()), Dataset::Bfcl(bfcl)),
    ];
    let mut all = BTreeMap::new();
    for (base, dataset) in kinds {
        let manifest = Manifest {
            name: "x".to_owned(),
            seed: 0,
            base,
            dataset: Some(dataset),
            stages: Stages::default(),
            evaluate: Some(Evaluate::default()),
            matrix: BTreeMap::new(),
        };
        fields(&serde_json::to_value(manifest).unwrap(), "", &mut all);
    }
    all
}

#[test]
fn every_field_is_documented_and_no_other() {
    let names = |of: BTreeMap<String, String>| of.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(names(documented()), names(defined()));
}

#[test]
fn documented_defaults_are_the_types_own() {
    // Defaults that are words: what a field without a value of its own stands for.
    let words =
        ["required", "all", "all six", "all with entries", "the usual five", "those whose file is there"];
    let defined = defined();
    for (field, default) in documented() {
        if !words.contains(&default.as_str()) {
            let own = &defined[&field];
            // A variant of the usual five stands for its field; its fields' defaults are those of a lone `name`.
            if !field.starts_with("evaluate.variants[]") {
                assert_eq!(default, *own, "{field}");
            }
        }
    }
    let lone = "name: a\nbase: {path: b}\ndataset: {records: {path: c}}\nevaluate: {variants: [{name: d}]}\n";
    let document = parse(lone, "lone.yaml").unwrap();
    let variant = &document.points[0].manifest.evaluate.as_ref().unwrap().variants[0];
    let mut own = BTreeMap::new();
    fields(&serde_json::to_value(variant).unwrap(), "evaluate.variants[]", &mut own);
    for (field, default) in documented().iter().filter(|(_, default)| *default != "required") {
        if field.starts_with("evaluate.variants[]") {
            assert_eq!(default, &own[field], "{field}");
        }
    }
}

#[test]
fn the_manuals_example_is_valid() {
    let manual = manual();
    let example = manual.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(parse(example, "manual.yaml").unwrap().points.len(), 6);
}

#[test]
fn the_examples_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            parse(&std::fs::read_to_string(&path).unwrap(), &path.display().to_string()).unwrap();
        }
    }
}
