//! The example data set: what is committed is what the generator makes, reads back, passes the official checker and tells no name.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use jobs_data::set::{EntrySet, TrainingSet};
use jobs_data::toolbox::{Options, generate};
use jobs_data::{Prepared, history, marks, prepare};
use jobs_eval::bfcl::{Call, judge, render_calls};
use jobs_spec::category::Category;
use jobs_spec::manifest::{Dataset, Records};

fn toolbox() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/toolbox")).to_owned()
}

fn prepared(dir: &Path, categories: Option<Vec<Category>>) -> Prepared {
    prepare(&Dataset::Records(Records { path: dir.to_owned(), categories }), Path::new(".")).unwrap()
}

/// Files below a folder with their bytes.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_committed_is_what_the_generator_makes() {
    let made = tempfile::tempdir().unwrap();
    let generated = generate(&toolbox().join("tools.json"), made.path(), 0, &Options::default()).unwrap();
    assert_eq!(generated.tools, 24);
    assert!(generated.bytes < 6_000_000, "{generated:?}");
    for (name, bytes) in contents(made.path()) {
        assert!(fs::read(toolbox().join(&name)).unwrap() == bytes, "{} is stale", name.display());
    }
}

#[test]
fn every_category_has_traces_and_answerable_entries() {
    let all = prepared(&toolbox(), None);
    assert_eq!(all.training.tools.len(), 24);
    assert!(all.notes.iter().all(|note| !note.starts_with("dropped")), "{:?}", all.notes);
    for tool in &all.training.tools {
        assert!((320..=336).contains(&all.training.traces_of(&tool.key).count()), "{}", tool.name);
    }
    assert_eq!(all.entries.len(), 6);
    for (category, set) in &all.entries {
        assert_eq!(set.entries.len(), 64);
        for entry in &set.entries {
            let official = entry.official(*category).unwrap();
            let gold: Vec<Call> = official
                .gold
                .iter()
                .map(|gold| gold.first_answer(official.doc(&gold.name).unwrap()))
                .collect();
            assert_eq!(judge(&official, &render_calls(&gold)), Ok(()), "{}", entry.id);
            assert!(entry.candidates.len() <= 6);
        }
    }
}

/// Values of a call's text arguments and numbers as they stand in calls.
fn values(calls: &[Call]) -> impl Iterator<Item = String> + '_ {
    calls.iter().flat_map(|call| &call.args).flat_map(|(_, value)| match value {
        jobs_eval::bfcl::Value::List(items) => items.iter().map(ToString::to_string).collect(),
        jobs_eval::bfcl::Value::Bool(_) => Vec::new(),
        other => vec![other.to_string()],
    })
}

#[test]
fn held_out_requests_hold_new_values_and_tell_no_name() {
    let all = prepared(&toolbox(), None);
    let mut seen = HashSet::new();
    for trace in &all.training.traces {
        let calls = jobs_eval::bfcl::decode(marks::split(&trace.answer).0).unwrap();
        seen.extend(values(&calls));
    }
    // The values of choices are shared by nature.
    let choices: HashSet<String> = all
        .training
        .tools
        .iter()
        .flat_map(|tool| tool.schema["parameters"]["properties"].as_object().unwrap().values())
        .flat_map(|property| property["enum"].as_array().cloned().unwrap_or_default())
        .map(|choice| format!("'{}'", choice.as_str().unwrap()))
        .collect();
    for (category, set) in &all.entries {
        for entry in &set.entries {
            let question: HashSet<&str> =
                entry.question.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let official = entry.official(*category).unwrap();
            for gold in &official.gold {
                let call = gold.first_answer(official.doc(&gold.name).unwrap());
                let known: Vec<String> = values(std::slice::from_ref(&call))
                    .filter(|v| seen.contains(v) && !choices.contains(v))
                    .collect();
                assert_eq!(known, Vec::<String>::new(), "{}", entry.id);
                let names = call.args.iter().map(|(name, _)| name.as_str()).chain([call.name.as_str()]);
                assert!(names.into_iter().all(|name| !question.contains(name)), "{}", entry.question);
            }
        }
    }
}

#[test]
fn several_tools_are_mostly_called_in_their_own_order() {
    let tools: Vec<serde_json::Value> =
        serde_json::from_slice(&fs::read(toolbox().join("tools.json")).unwrap()).unwrap();
    let place = |name: &str| tools.iter().position(|tool| tool["name"] == name).unwrap();
    let all = prepared(&toolbox(), None);
    let (mut steps, mut in_order, mut asked_later) = (0, 0, 0);
    for trace in all.training.traces.iter().filter(|trace| trace.category.is_multi_step()) {
        let mut calls: Vec<Call> =
            history::earlier(&trace.question).into_iter().map(|(_, call)| call).collect();
        calls.extend(jobs_eval::bfcl::decode(marks::split(&trace.answer).0).unwrap());
        in_order += usize::from(calls.is_sorted_by_key(|call| place(&call.name)));
        let question = history::split(&trace.question).0;
        let found =
            calls.iter().map(|call| values(std::slice::from_ref(call)).find_map(|v| question.find(&v)));
        asked_later += usize::from(!found.flatten().is_sorted());
        steps += 1;
    }
    // A few requests keep their own order, which may be that of the tools; what is called first need not be asked for first.
    assert!((0.97..0.999).contains(&(in_order as f64 / steps as f64)), "{in_order} of {steps}");
    assert!(steps > 2_000 && asked_later > steps / 10, "{asked_later} of {steps}");
}

#[test]
fn sets_come_back_from_their_files_as_they_were() {
    let all = prepared(&toolbox(), None);
    let write = |files: Vec<(String, Vec<u8>)>| {
        let dir = tempfile::tempdir().unwrap();
        files.into_iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
        dir
    };
    let training = TrainingSet::read(write(all.training.files()).path()).unwrap();
    assert_eq!(training, all.training);
    for set in all.entries.values() {
        assert_eq!(&EntrySet::read(write(set.files()).path()).unwrap(), set);
    }
    let tool = &all.training.tools[3];
    let own = all.training.for_tool(&tool.key);
    assert!(own.traces.iter().all(|trace| trace.tool == tool.key));
    assert_eq!(own.traces.len(), all.training.traces_of(&tool.key).count());
    assert_eq!(TrainingSet::read(write(own.files()).path()).unwrap(), own);
    let parts: Vec<_> = all.training.by_tool().collect();
    assert_eq!(parts.len(), 24);
    assert!(parts.iter().all(|(tool, part)| *part == all.training.for_tool(&tool.key)));
}

#[test]
fn one_category_can_be_read_alone() {
    let one = prepared(&toolbox(), Some(vec![Category::LiveParallel]));
    assert_eq!(one.entries.keys().collect::<Vec<_>>(), [&Category::LiveParallel]);
    assert!(one.training.traces.iter().all(|trace| trace.category == Category::LiveParallel));
}
