//! What must be so at the end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use worker_artifacts::{ArtifactRef, Artifacts};

use crate::cluster::Cluster;

/// Files of a job's result: path and SHA-256.
type Files = Vec<(String, String)>;

/// Checks the table, the journal and the store; returns each job's files by its key.
pub(crate) async fn check(cluster: &Cluster, jobs: u64) -> BTreeMap<String, Files> {
    let listed = cluster.json(&["jobs", "chaos", "--limit", "100000"]).await;
    let listed = listed["jobs"].as_array().unwrap();
    assert_eq!(listed.len() as u64, jobs);
    assert!(listed.iter().all(|job| job["state"] == "succeeded"));
    journal(cluster, listed).await;

    let results = cluster.json(&["artifacts", "ls", "chaos"]).await;
    let of: BTreeSet<_> =
        results["artifacts"].as_array().unwrap().iter().map(|result| number(&result["job"])).collect();
    let ids: BTreeSet<_> = listed.iter().map(|job| number(&job["id"])).collect();
    assert_eq!(results["artifacts"].as_array().unwrap().len(), listed.len(), "a result each");
    assert_eq!(of, ids);

    let verified = cluster.ask(&["artifacts", "verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let deleted = cluster.json(&["gc", "--grace", "0s"]).await;
    let left = cluster.json(&["gc", "--grace", "0s", "--dry-run"]).await;
    assert_eq!(left["garbage"], serde_json::json!({}), "orphans after a collection");
    println!("garbage: {} of {} objects", deleted["deleted"]["objects"], deleted["listed"]["objects"]);
    let verified = cluster.ask(&["artifacts", "verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));

    let store = cluster.open(results["store"].as_str().unwrap());
    let mut files = BTreeMap::new();
    for job in listed {
        files.insert(job["key"].to_string(), files_of(&store, &job["artifact"]).await);
    }
    files
}

/// The journal replays to the jobs: attempts grow, a job succeeds once, and that is its last word.
async fn journal(cluster: &Cluster, listed: &[Value]) {
    let output = cluster.ask(&["events", "--json"]).await;
    assert!(output.status.success());
    let mut last: BTreeMap<i64, (String, i64)> = BTreeMap::new();
    let mut seq = 0;
    let mut entries = 0;
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert!(number(&entry["seq"]) > seq, "{entry}");
        seq = number(&entry["seq"]);
        entries += 1;
        if entry["job"].is_null() {
            continue;
        }
        let (job, kind, attempt) = (number(&entry["job"]), text(&entry["kind"]), number(&entry["attempt"]));
        if let Some((before, older)) = last.insert(job, (kind.clone(), attempt)) {
            assert!(before != "job.succeeded", "job {job} went on after its end: {entry}");
            assert!(
                attempt == older || (kind == "job.leased" && attempt == older + 1),
                "{entry} after attempt {older}"
            );
        }
    }
    let jobs = listed.iter().map(|job| {
        let state = format!("job.{}", job["state"].as_str().unwrap());
        (number(&job["id"]), (state, number(&job["attempt"])))
    });
    assert_eq!(last, jobs.collect(), "the journal does not replay to the jobs");
    let attempts: i64 = last.values().map(|(_, attempt)| attempt).sum();
    println!("{entries} journal entries, {attempts} attempts for {} jobs", last.len());
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

async fn files_of(store: &Artifacts, artifact: &Value) -> Files {
    let (path, digest) = (text(&artifact["path"]), text(&artifact["digest"]).parse().unwrap());
    let manifest = store.manifest(&ArtifactRef { path, digest }).await.unwrap();
    manifest.files.into_iter().map(|file| (file.path, file.sha256.to_string())).collect()
}
