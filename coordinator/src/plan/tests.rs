use std::path::Path;

use ::tests::workspace::{CONFIG, model, write};
use jobs_spec::job::{Input, JobSpec, PlannedJob, input};

use super::*;
use crate::server::planner::{PlanRequest, Planned};

/// A record file with two tools and their traces, and held-out entries of the same category.
fn workspace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["weather", "time"]);
    model(&dir.path().join("bge"));
    dir
}

const MANIFEST: &str = "name: demo\nbase: {path: base}\ndataset: {records: {path: tools}}\n";

fn planned(dir: &tempfile::TempDir, manifest: &str) -> Planned {
    plan(&request(dir, manifest)).unwrap()
}

fn request(dir: &tempfile::TempDir, manifest: &str) -> PlanRequest {
    PlanRequest { manifest: manifest.to_owned(), folder: dir.path().to_owned(), file: "demo.yaml".to_owned() }
}

fn labels<'a>(planned: &'a Planned, kind: &'a str) -> Vec<&'a str> {
    planned.jobs.iter().filter(|job| job.spec.kind() == kind).map(|job| job.label.as_str()).collect()
}

fn job<'a>(planned: &'a Planned, label: &str) -> &'a PlannedJob {
    planned.jobs.iter().find(|job| job.label == label).unwrap()
}

fn names(job: &PlannedJob) -> Vec<&str> {
    job.inputs.keys().map(|name| name.split('/').next().unwrap()).collect()
}

#[test]
fn a_manifest_becomes_stages_of_jobs_over_their_inputs() {
    let dir = workspace();
    let planned = planned(&dir, &format!("{MANIFEST}evaluate: {{}}\n"));
    assert_eq!(planned.stages, ["embed", "pretrain", "gate", "finetune", "evaluate"]);
    assert_eq!(labels(&planned, "pretrain"), ["weather", "time"]);
    assert_eq!(
        labels(&planned, "evaluate"),
        ["base/multiple", "soft/multiple", "top1/multiple", "average/multiple", "oracle/multiple"]
    );
    assert_eq!(names(job(&planned, "embeddings")), ["base", "dataset"]);
    assert_eq!(names(job(&planned, "weather")), ["base", "traces"]);
    assert_eq!(names(job(&planned, "gate")), ["dataset", "embeddings"]);
    let finetune = ["adapter", "adapter", "base", "dataset", "embeddings", "gate"];
    assert_eq!(names(job(&planned, "adapters")), finetune);
    assert_eq!(names(job(&planned, "base/multiple")), ["base", "entries"]);
    assert_eq!(names(job(&planned, "average/multiple")), ["adapters", "base", "entries"]);
    let soft = ["adapters", "base", "entries", "gate"];
    assert_eq!(names(job(&planned, "soft/multiple")), soft);
}

#[test]
fn the_first_tool_of_a_category_goes_first_and_a_share_may_be_missing() {
    let dir = workspace();
    let strict = planned(&dir, &format!("{MANIFEST}evaluate: {{}}\n"));
    assert!(job(&strict, "weather").coverage && !job(&strict, "time").coverage, "both teach `multiple`");
    assert!(strict.jobs.iter().all(|job| job.may_miss == 0));
    let half = "stages: {pretrain: {required: 0.5}}\n";
    let lenient = planned(&dir, &format!("{MANIFEST}{half}evaluate: {{}}\n"));
    assert_eq!(job(&lenient, "adapters").may_miss, 1);
    assert!(lenient.jobs.iter().filter(|job| job.label != "adapters").all(|job| job.may_miss == 0));
    assert_eq!(
        lenient.manifest_digest, strict.manifest_digest,
        "it changes who may start, not what is computed"
    );
    let matrix = "matrix: {stages.pretrain.required: [0.5, 1.0]}\n";
    let both = planned(&dir, &format!("{MANIFEST}{half}evaluate: {{}}\n{matrix}"));
    assert_eq!(job(&both, "adapters").may_miss, 0, "the strictest point counts");
}

#[test]
fn what_jobs_need_comes_before_them_and_every_input_is_imported() {
    let dir = workspace();
    let planned = planned(&dir, &format!("{MANIFEST}evaluate: {{}}\n"));
    for (at, job) in planned.jobs.iter().enumerate() {
        assert!(job.needs().all(|need| planned.jobs[..at].iter().any(|earlier| earlier.key == need)));
        for input in job.inputs.values() {
            if let Input::Artifact(digest) = input {
                assert!(
                    planned.imports.iter().any(|import| import.artifact.digest == *digest),
                    "{}",
                    job.label
                );
            }
        }
        assert!(job.tokens > 0, "{}", job.label);
    }
}

#[test]
fn the_same_files_give_the_same_keys_wherever_they_are() {
    let (one, other) = (workspace(), workspace());
    std::fs::write(other.path().join("base/README.md"), "no part of the model").unwrap();
    let (one, two) = (planned(&one, MANIFEST), planned(&other, MANIFEST));
    assert_eq!(one.jobs, two.jobs);
    assert_eq!(one.manifest_digest, two.manifest_digest);
    std::fs::write(other.path().join("base/tokenizer.json"), "{\"a\": 1}").unwrap();
    assert_ne!(planned(&other, MANIFEST).manifest_digest, two.manifest_digest);
}

#[test]
fn only_what_variants_read_is_planned() {
    let dir = workspace();
    let variants = |list: &str| planned(&dir, &format!("{MANIFEST}evaluate: {{variants: [{list}]}}\n"));
    assert_eq!(variants("{name: base, adapters: none}").stages, ["evaluate"]);
    let pretrained = variants("{name: own, adapters: pretrained, weights: oracle}");
    assert_eq!(pretrained.stages, ["pretrain", "evaluate"]);
    assert_eq!(names(job(&pretrained, "own/multiple")), ["adapter", "adapter", "base", "entries"]);
    assert_eq!(planned(&dir, MANIFEST).stages, ["embed", "pretrain", "gate", "finetune"]);
    let base = planned(&dir, "name: b\nbase: {train: {}}\n");
    assert_eq!((base.stages, base.imports.len()), (vec!["base".to_owned()], 0));
}

#[test]
fn a_trained_base_is_an_input_like_any_other() {
    let dir = workspace();
    let planned = planned(&dir, "name: b\nbase: {train: {}}\ndataset: {records: {path: tools}}\n");
    let base = job(&planned, "base").key;
    assert_eq!(job(&planned, "weather").inputs[input::BASE], Input::Job(base));
}

#[test]
fn an_encoder_is_read_instead_of_the_base() {
    let dir = workspace();
    let text = format!("{MANIFEST}stages: {{embed: {{q_encoder: {{bge: bge}}}}}}\nevaluate: {{}}\n");
    let planned = planned(&dir, &text);
    assert_eq!(names(job(&planned, "embeddings")), ["dataset", "encoder"]);
    assert!(job(&planned, "soft/multiple").inputs.contains_key(input::ENCODER));
    assert!(!job(&planned, "average/multiple").inputs.contains_key(input::ENCODER));
}

#[test]
fn what_has_no_effect_changes_no_key() {
    let dir = workspace();
    let with = |embed: &str, variant: &str| {
        let text = format!(
            "{MANIFEST}stages: {{embed: {{q_encoder: {embed}}}}}\nevaluate: {{variants: [{variant}]}}\n"
        );
        planned(&dir, &text).manifest_digest
    };
    let alone = "{name: base, adapters: none}";
    assert_eq!(with("base", alone), with("{bge: bge}", alone));
    assert_eq!(with("base", alone), with("base", "{name: base, adapters: none, weights: oracle}"));
    model(&dir.path().join("moved"));
    assert_eq!(with("{bge: bge}", "{name: soft}"), with("{bge: moved}", "{name: soft}"));
}

#[test]
fn points_share_what_they_have_in_common() {
    let dir = workspace();
    let text = format!("{MANIFEST}evaluate: {{}}\nmatrix: {{stages.gate.lambda: [0.2, 0.4]}}\n");
    let planned = planned(&dir, &text);
    assert_eq!(labels(&planned, "pretrain"), ["weather", "time"]);
    assert_eq!(labels(&planned, "gate"), ["gate[gate.lambda=0.2]", "gate[gate.lambda=0.4]"]);
    let scored = labels(&planned, "evaluate");
    assert_eq!(scored.len(), 1 + 2 * 4);
    assert!(scored.contains(&"base/multiple") && scored.contains(&"soft[gate.lambda=0.4]/multiple"));
}

#[test]
fn a_fan_shares_base_rank_and_scale() {
    let dir = workspace();
    let text =
        format!("{MANIFEST}matrix: {{stages.pretrain.lr: [1.0e-3, 1.0e-4], stages.pretrain.rank: [4, 8]}}\n");
    let planned = planned(&dir, &text);
    let fan = |label: &str| job(&planned, label).fan.unwrap();
    let label = |lr: &str, rank: &str| format!("weather[pretrain.lr={lr},pretrain.rank={rank}]");
    assert_eq!(fan(&label("0.001", "4")), fan(&label("0.0001", "4")));
    assert_ne!(fan(&label("0.001", "4")), fan(&label("0.001", "8")));
    assert!(planned.jobs.iter().all(|job| job.fan.is_some() == matches!(job.spec, JobSpec::Pretrain(_))));
}

#[test]
fn settings_of_speed_change_no_key() {
    let dir = workspace();
    let one = planned(&dir, MANIFEST);
    let two = planned(&dir, &format!("{MANIFEST}stages: {{pretrain: {{slots: 2, tokens_per_pass: 64}}}}\n"));
    assert_eq!(one.manifest_digest, two.manifest_digest);
}

#[test]
fn the_memory_of_a_fan_is_told_once_per_size() {
    let dir = workspace();
    let notes = |settings: &str| -> Vec<String> {
        let planned = planned(&dir, &format!("{MANIFEST}stages: {{pretrain: {{{settings}}}}}\n"));
        planned.notes.into_iter().filter(|note| note.starts_with("a fan of ")).collect()
    };
    let two = notes("slots: 2, tokens_per_pass: 64");
    assert_eq!(two.len(), 1);
    assert!(two[0].starts_with("a fan of 2 slots and passes of "), "{}", two[0]);
    assert!(two[0].contains(" MiB on ") && two[0].ends_with(" MiB on a GPU"), "{}", two[0]);
    assert_ne!(notes("slots: 500, rank: 64"), two);
}

#[test]
fn mistakes_in_files_name_manifest_and_file() {
    let refused = |change: &dyn Fn(&Path), text: &str| {
        let dir = workspace();
        change(dir.path());
        let message = plan(&request(&dir, text)).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        message.replace(&dir.path().display().to_string(), "DIR")
    };
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    assert_eq!(
        refused(&|dir| remove(&dir.join("base/tokenizer.json")), MANIFEST),
        "demo.yaml:2: base.path: DIR/base/tokenizer.json: no such file"
    );
    assert_eq!(
        refused(&|_| (), &MANIFEST.replace("path: base", "path: nowhere")),
        "demo.yaml:2: base.path: DIR/nowhere: no such folder"
    );
    let foreign = CONFIG.replace("qwen2", "gpt2");
    assert_eq!(
        refused(&|dir| std::fs::write(dir.join("base/config.json"), &foreign).unwrap(), MANIFEST),
        "demo.yaml:2: base.path: DIR/base/config.json: field `model_type`: `gpt2` is none of qwen2, qwen3, llama"
    );
    let broken = refused(&|dir| std::fs::write(dir.join("tools/multiple.jsonl"), "{\n").unwrap(), MANIFEST);
    assert!(
        broken.starts_with("demo.yaml:3: dataset.records.path: DIR/tools/multiple.jsonl:1: "),
        "{broken}"
    );
    assert_eq!(
        refused(&|_| (), &format!("{MANIFEST}evaluate: {{categories: [parallel]}}\n")),
        "demo.yaml:4: evaluate.categories[0]: the dataset has no held-out entries of this category"
    );
}
