//! The commands about the object store, against a coordinator whose jobs the test does over the wire.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;

use common::{Place, Serving, error, serve, text};
use proto::id::Attempt;
use proto::v1;
use proto::v1::fleet_client::FleetClient;
use serde_json::{Value, json};
use worker_artifacts::{Artifacts, Record, hash_bytes};

/// A place whose sweep has one adapter for each of its tools.
async fn trained() -> (Place, Serving) {
    let place = Place::new();
    let serving = serve(&place);
    place.json(&["submit", "demo.yaml", "--coordinator", &serving.url, "--json"]);
    let mut fleet = FleetClient::connect(serving.url.clone()).await.unwrap();
    let lanes = vec![v1::Lane { id: 0, device: "cpu".to_owned() }];
    let (name, incarnation) = ("w".to_owned(), "1".to_owned());
    let version = proto::version::OWN.to_owned();
    let request = v1::RegisterRequest { name, incarnation, version, lanes, ..Default::default() };
    let session = fleet.register(request).await.unwrap().into_inner();
    let store = Artifacts::open(&session.store).unwrap();
    let mut adapters = 0;
    while adapters < 2 {
        let v1::RegisterReply { worker, term, .. } = session;
        let request =
            v1::AcquireRequest { term, worker, free_slots: 2, wait_ms: 20_000, ..Default::default() };
        for offer in fleet.acquire(request).await.unwrap().into_inner().offers {
            adapters += usize::from(offer.role == "adapter");
            finish(&place, &mut fleet, &store, &session, offer).await;
        }
    }
    (place, serving)
}

/// Commits a job's result: files as PEFT names them, with the job's label in them.
async fn finish(
    place: &Place,
    fleet: &mut FleetClient<tonic::transport::Channel>,
    store: &Artifacts,
    session: &v1::RegisterReply,
    offer: v1::Offer,
) {
    let task = offer.task.unwrap();
    let folder = format!("made/{}", task.job);
    place.write(&format!("{folder}/adapter_config.json"), "{}");
    place.write(&format!("{folder}/adapter_model.safetensors"), &offer.label);
    let record = Record {
        key: offer.key.parse().map(proto::id::JobKey).unwrap(),
        attempt: Attempt(task.attempt),
        role: offer.role.clone(),
        inputs: BTreeMap::new(),
        metrics: json!({}),
        versions: BTreeMap::new(),
        trace: None,
    };
    let committed = store.commit_folder(&record, &place.path(&folder)).await.unwrap();
    let artifact = &committed.artifact;
    let request = v1::CompleteRequest {
        term: session.term,
        worker: session.worker,
        task: Some(task),
        role: offer.role,
        artifact: Some(v1::Artifact { path: artifact.path.clone(), digest: artifact.digest.to_string() }),
        bytes: committed.bytes,
        metrics: "{}".to_owned(),
        device_ms: 1,
        blobs: committed.blobs.iter().map(ToString::to_string).collect(),
    };
    for (part, text) in ["epoch 1\n", "epoch 2\n"].into_iter().enumerate() {
        store.put_log(record.key, record.attempt, part as u32, text.into()).await.unwrap();
    }
    fleet.complete(request).await.unwrap();
}

/// The listed artifact of a job by its label.
fn labelled<'a>(listed: &'a Value, label: &str) -> &'a Value {
    listed["artifacts"].as_array().unwrap().iter().find(|artifact| artifact["label"] == label).unwrap()
}

#[tokio::test]
async fn results_are_listed_fetched_and_exported() {
    let (place, serving) = trained().await;
    let at = ["--coordinator", &serving.url];
    let all = |args: &[&str]| place.json(&[args, &at, &["--json"]].concat());
    let adapters = all(&["artifacts", "ls", "demo", "--stage", "pretrain"]);
    assert_eq!(adapters["artifacts"].as_array().unwrap().len(), 2);
    let weather = labelled(&adapters, "weather");
    assert_eq!((&weather["role"], &weather["attempt"]), (&json!("adapter"), &json!(1)));
    assert_eq!(weather["bytes"], "{}weather".len());
    let (every, results) = (all(&["artifacts", "ls", "--all"]), all(&["artifacts", "ls", "--label", "t*"]));
    assert!(every["artifacts"].as_array().unwrap().len() > 4, "inputs too");
    assert_eq!(results["artifacts"].as_array().unwrap().len(), 1);
    let table = text(&place.run(&[&["artifacts", "ls", "demo"], &at[..]].concat()).stdout);
    assert!(table.contains("weather") && table.contains("manifests/"), "{table}");

    let job = weather["job"].to_string();
    let got = place.run(&[&["artifacts", "get", &job, "got"], &at[..]].concat());
    assert_eq!(text(&got.stdout), "adapter: 2 files, 9 bytes in got\n");
    assert_eq!(std::fs::read_to_string(place.path("got/adapter_model.safetensors")).unwrap(), "weather");
    let none = error(&place, &[&["artifacts", "get", "999", "got"], &at[..]].concat());
    assert_eq!(none, "error: job 999 has no result");

    for _ in 0..2 {
        let exported = place.run(&[&["artifacts", "export", "demo", "--peft", "out"], &at[..]].concat());
        assert_eq!(text(&exported.stdout), "2 artifacts in out\n", "{}", text(&exported.stderr));
    }
    for tool in ["weather", "time"] {
        let model = place.path(&format!("out/{tool}/adapter_model.safetensors"));
        assert_eq!(std::fs::read_to_string(model).unwrap(), tool);
    }
    let none = ["artifacts", "export", "demo", "--stage", "gate", "--peft", "out"];
    assert_eq!(
        error(&place, &[&none, &at[..]].concat()),
        "error: no job that is meant has committed an adapter"
    );
}

#[tokio::test]
async fn what_is_damaged_or_missing_is_named_with_its_job() {
    let (place, serving) = trained().await;
    let verify = ["artifacts", "verify", "--coordinator", &serving.url];
    let sound = place.run(&verify);
    assert!(sound.status.success() && sound.stdout.is_empty(), "{}", text(&sound.stdout));
    assert!(text(&sound.stderr).ends_with("bytes read\n"));

    let object =
        |content: &str| place.path("quiver-data/store").join(hash_bytes(content.as_bytes()).object());
    std::fs::write(object("weather"), "whether").unwrap();
    std::fs::remove_file(object("time")).unwrap();
    let bad = place.run(&verify);
    assert_eq!(bad.status.code(), Some(1));
    let (lines, said) = (text(&bad.stdout), text(&bad.stderr));
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for (label, problem) in
        [("weather", "is damaged: expected sha256"), ("time", "does not exist in file://")]
    {
        let line = lines.lines().find(|line| line.contains(&format!("({label}), adapter "))).unwrap();
        assert!(line.starts_with("job ") && line.contains(problem), "{line}");
    }
    assert!(said.ends_with("error: 2 artifacts of jobs are not whole\n"), "{said}");
    let output = place.run(&[&verify[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), report["bad"].as_array().unwrap().len()), (Some(1), 2));
    assert!(place.run(&[&verify[..], &["--label", "gate"]].concat()).status.success());
}

#[tokio::test]
async fn garbage_is_counted_then_deleted() {
    let (place, serving) = trained().await;
    let at = ["--coordinator", &serving.url];
    let json = |args: &[&str]| place.json(&[args, &at, &["--json"]].concat());
    let store = Artifacts::open(&place.path("quiver-data/store").to_string_lossy()).unwrap();
    let orphan = store.put_bytes("nobody's".into()).await.unwrap();
    place.write("quiver-data/store/notes.txt", "an operator's own");
    let young = text(&place.run(&[&["gc"], &at[..]].concat()).stdout);
    assert!(young.starts_with("all of ") && young.ends_with(" objects are needed or too young\n"), "{young}");
    let found = json(&["gc", "--grace", "0s", "--dry-run"]);
    assert_eq!(found["garbage"], json!({"blobs": {"objects": 1, "bytes": 8}}));
    assert_eq!(found["deleted"]["objects"], 0);
    assert!(store.has(&orphan).await.unwrap());
    let table = text(&place.run(&[&["gc", "--grace", "0s", "--dry-run"], &at[..]].concat()).stdout);
    let words = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("blobs 1 8 B") && words.contains("would be deleted of "), "{table}");
    let done = json(&["gc", "--grace", "0s"]);
    assert_eq!((&done["deleted"]["bytes"], &done["spared"]), (&json!(8), &json!(0)));
    assert!(!store.has(&orphan).await.unwrap());
    assert!(place.path("quiver-data/store/notes.txt").is_file());
    assert_eq!(json(&["gc", "--grace", "0s"])["garbage"], json!({}));
    assert!(place.run(&[&["artifacts", "verify"], &at[..]].concat()).status.success());
}

#[tokio::test]
async fn what_runners_said_is_shown_by_attempt() {
    let (place, serving) = trained().await;
    let at = ["--coordinator", &serving.url];
    let adapters = place.json(&[&["artifacts", "ls", "--stage", "pretrain", "--json"], &at[..]].concat());
    let job = adapters["artifacts"][0]["job"].to_string();
    for args in [&["logs", job.as_str()][..], &["logs", &job, "--attempt", "1"], &["logs", &job, "-f"]] {
        let shown = place.run(&[args, &at].concat());
        assert_eq!(text(&shown.stdout), "epoch 1\nepoch 2\n", "{}", text(&shown.stderr));
    }
    let none = error(&place, &[&["logs", &job, "--attempt", "2"], &at[..]].concat());
    assert_eq!(none, format!("error: job {job} has 1 attempts so far"));
    assert_eq!(error(&place, &[&["logs", "999"], &at[..]].concat()), "error: there is no job 999");
}
