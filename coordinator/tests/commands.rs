//! The commands as people run them: tables and JSON on standard output, one line for every mistake.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{MANIFEST, Place, error, serve, text};

#[test]
fn a_plan_needs_no_coordinator() {
    let place = Place::new();
    let plan = place.json(&["plan", "demo.yaml", "--json"]);
    let stages: Vec<_> = plan["stages"].as_array().unwrap().iter().map(|stage| &stage["stage"]).collect();
    assert_eq!(stages, ["embed", "pretrain", "gate", "finetune", "evaluate"]);
    assert_eq!(plan["stages"][1]["new"], 2);
    let table = text(&place.run(&["plan", "demo.yaml"]).stdout);
    assert!(table.contains("pretrain") && table.contains("cached"), "{table}");
    assert!(!place.path("quiver-data").exists(), "planning writes nothing");
}

#[test]
fn a_sweep_is_submitted_listed_cancelled_and_retried() {
    let place = Place::new();
    let serving = serve(&place);
    let at = ["--coordinator", &serving.url, "--json"];
    let json = |args: &[&str]| place.json(&[args, &at].concat());
    let first = json(&["submit", "demo.yaml"]);
    assert_eq!(first["plan"]["stages"][1]["new"], 2);
    assert_eq!(json(&["submit", "demo.yaml"])["sweep"], first["sweep"], "the same manifest joins");
    assert_eq!(json(&["plan", "demo.yaml"])["stages"][1]["running"], 2);

    let status = json(&["status", "demo"]);
    assert_eq!(
        (&status["sweeps"][0]["state"], &status["sweeps"][0]["id"]),
        (&"running".into(), &first["sweep"])
    );
    assert_eq!(status["workers"].as_array().unwrap().len(), 0);
    let jobs = json(&["jobs", "demo", "--stage", "pretrain"]);
    let labels: Vec<_> =
        jobs["jobs"].as_array().unwrap().iter().map(|job| job["label"].as_str().unwrap()).collect();
    assert_eq!(labels.len(), 2);
    assert!(labels.contains(&"weather") && labels.contains(&"time"));
    assert_eq!(json(&["jobs", "demo", "--state", "succeeded"])["matching"], 0);

    assert!(json(&["cancel", "demo"])["changed"].as_u64().unwrap() > 0);
    assert_eq!(json(&["status", "demo"])["sweeps"][0]["state"], "cancelled");
    assert!(json(&["retry", "demo"])["changed"].as_u64().unwrap() > 0);
    assert_eq!(json(&["status", "demo"])["sweeps"][0]["state"], "running");
    let table = text(&place.run(&["status", "--coordinator", &serving.url]).stdout);
    assert!(table.contains("demo") && table.contains("pretrain"), "{table}");
}

#[test]
fn adapters_are_waived_and_what_is_needed_is_not() {
    let place = Place::new();
    let serving = serve(&place);
    let at = ["--coordinator", &serving.url];
    let run = |args: &[&str]| text(&place.run(&[args, &at].concat()).stdout);
    run(&["submit", "demo.yaml"]);
    assert_eq!(
        error(&place, &[&["waive", "demo"], &at[..]].concat()),
        "error: say which jobs to waive, by id or by a condition"
    );
    assert_eq!(
        error(&place, &[&["waive", "demo", "--stage", "embed"], &at[..]].concat()),
        "error: job `embeddings` cannot be waived: `gate` needs what it makes"
    );
    let one = ["waive", "demo", "--stage", "pretrain", "--label", "wea*"];
    assert_eq!(run(&[&one[..], &["--preview"]].concat()), "1 jobs would change (1 ready)\n");
    assert_eq!(run(&one), "1 jobs waived\n");
    let status = run(&["status", "demo"]);
    assert!(status.contains("pretrain weather (waived)"), "{status}");
    assert_eq!(run(&["retry", "demo", "--label", "weather"]), "1 jobs to be tried again\n");
}

#[test]
fn mistakes_are_one_line_each() {
    let place = Place::new();
    place.write("wrong.yaml", &MANIFEST.replace("evaluate", "evalute"));
    let unknown = "error: wrong.yaml:4: evalute: unknown key (nearest: `evaluate`)";
    assert_eq!(error(&place, &["plan", "wrong.yaml"]), unknown);
    assert_eq!(error(&place, &["run", "wrong.yaml"]), unknown);
    assert_eq!(
        error(&place, &["plan", "absent.yaml"]),
        "error: absent.yaml: No such file or directory (os error 2)"
    );
    let closed = error(&place, &["status", "--coordinator", "http://127.0.0.1:9"]);
    assert!(closed.starts_with("error: cannot reach the coordinator at http://127.0.0.1:9: "), "{closed}");
    std::fs::remove_file(place.path("base/tokenizer.json")).unwrap();
    assert_eq!(
        error(&place, &["run", "demo.yaml"]),
        "error: demo.yaml:2: base.path: DIR/base/tokenizer.json: no such file"
    );
    place.write("quiver.toml", "lisen = \"x\"\n");
    assert_eq!(
        error(&place, &["serve", "--config", "quiver.toml"]),
        "error: quiver.toml: unknown setting `lisen`; the nearest valid one is `listen`"
    );
}

#[test]
fn a_coordinators_refusal_is_one_line() {
    let place = Place::new();
    let serving = serve(&place);
    place.write("wrong.yaml", &MANIFEST.replace("demo", "de mo"));
    assert_eq!(
        error(&place, &["submit", "wrong.yaml", "--coordinator", &serving.url]),
        "error: wrong.yaml:1: name: may hold letters, digits, `-`, `_` and `.`, not ' '"
    );
    assert_eq!(
        error(&place, &["status", "nobody", "--coordinator", &serving.url]),
        "error: there is no sweep `nobody`"
    );
}

#[test]
fn a_port_or_a_folder_in_use_is_named() {
    let (place, other) = (Place::new(), Place::new());
    let serving = serve(&place);
    let address = serving.url.strip_prefix("http://").unwrap();
    let taken = error(&other, &["serve", "--listen", address]);
    assert!(taken.starts_with(&format!("error: cannot listen on {address}: Address")), "{taken}");
    let locked = error(&place, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(locked.contains("quiver-data"), "{locked}");
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    let place = Place::new();
    assert_eq!(place.run(&["plan"]).status.code(), Some(2));
    assert_eq!(place.run(&["jobs", "demo", "--stage", "nonsense"]).status.code(), Some(2));
    assert_eq!(place.run(&["jobs", "demo", "--state", "nonsense"]).status.code(), Some(2));
}
