//! Jobs from offer to commit.

use crate::world::World;
use proto::v1;
use serde_json::json;
use worker_artifacts::ArtifactRef;

fn input(name: &str, artifact: &ArtifactRef) -> v1::Input {
    let artifact = v1::Artifact { path: artifact.path.clone(), digest: artifact.digest.to_string() };
    v1::Input { name: name.to_owned(), artifact: Some(artifact) }
}

#[tokio::test]
async fn a_job_goes_from_inputs_to_a_committed_artifact() {
    let world = World::new().await;
    let traces = world.import("traces.jsonl", "one trace").await;
    let mut offer = world.offer(1, json!({"do": "finish"}));
    offer.inputs = vec![input("traces", &traces)];
    world.fleet.with(|table| table.ready.push_back(offer));
    let _worker = world.worker();
    world.fleet.until("a commit", |table| table.is_completed(1)).await;

    let complete = world.fleet.with(|table| table.completed[0].clone());
    assert_eq!((complete.term, complete.worker, complete.device_ms), (1, 5, 7));
    assert_eq!((complete.role.as_str(), complete.metrics.as_str()), ("thing", r#"{"steps":2}"#));
    assert_eq!(world.result(1, "traces/traces.jsonl").await, "one trace");
    let artifact = complete.artifact.unwrap();
    let artifact = ArtifactRef { path: artifact.path, digest: artifact.digest.parse().unwrap() };
    let manifest = world.artifacts.manifest(&artifact).await.unwrap();
    assert_eq!((manifest.role.as_str(), manifest.inputs["traces"].clone()), ("thing", traces));
    assert_eq!(manifest.size(), complete.bytes);

    world.fleet.until("an idle heartbeat", |table| table.heartbeat.is_empty()).await;
    let registration = world.fleet.with(|table| table.registrations[0].clone());
    assert_eq!(registration.lanes, [v1::Lane { id: 0, device: "cpu".to_owned() }]);
    assert!(!registration.name.is_empty() && !registration.incarnation.is_empty());
}

#[tokio::test]
async fn a_fan_is_filled_and_refilled_up_to_its_slots() {
    let world = World::new().await;
    let fan = [1, 2, 3, 4].map(|job| world.fan_offer(job, "f"));
    let other = world.offer(5, json!({"do": "finish"}));
    world.fleet.with(|table| {
        table.ready.extend(fan);
        table.ready.push_back(other);
    });
    let _worker = world.worker();
    world.fleet.until("two jobs", |table| table.running() == [1, 2].into()).await;
    assert_eq!(world.fleet.with(|table| table.ready.len()), 3);
    world.open("2");
    world.fleet.until("a refill", |table| table.is_completed(2) && table.running() == [1, 3].into()).await;
    for gate in ["1", "3", "4"] {
        world.open(gate);
    }
    world.fleet.until("everything", |table| table.completed.len() == 5).await;
    assert!(world.fleet.with(|table| table.failed.is_empty()));
}

#[tokio::test]
async fn a_failed_job_is_told_and_the_runner_goes_on() {
    let world = World::new().await;
    let offers = [world.offer(1, json!({"do": "fail"})), world.offer(2, json!({"do": "finish"}))];
    world.fleet.with(|table| table.ready.extend(offers));
    let _worker = world.worker();
    world.fleet.until("the second", |table| table.is_completed(2)).await;
    let failed = world.fleet.with(|table| table.failed.clone());
    assert_eq!((failed[0].code.as_str(), failed[0].message.as_str()), ("data", "line 3 is broken"));
    assert!(!failed[0].released);
}

#[tokio::test]
async fn a_dead_runner_fails_its_jobs_and_is_replaced() {
    let world = World::new().await;
    let mut killer = world.fan_offer(1, "f");
    killer.spec = json!({"do": "die", "gate": world.path("1")}).to_string();
    world.fleet.with(|table| table.ready.extend([killer, world.fan_offer(2, "f")]));
    let _worker = world.worker();
    world.fleet.until("two jobs", |table| table.running() == [1, 2].into()).await;
    world.open("1");
    world.fleet.until("two failures", |table| table.failed.len() == 2).await;
    for failed in world.fleet.with(|table| table.failed.clone()) {
        assert_eq!((failed.code.as_str(), failed.released), ("runner_died", false));
        assert!(
            failed.message.contains("exit status: 9; its last words: illegal memory access"),
            "{}",
            failed.message
        );
    }
    world.fleet.with(|table| table.ready.push_back(world.offer(3, json!({"do": "finish"}))));
    world.fleet.until("a job in the new runner", |table| table.is_completed(3)).await;
}

#[tokio::test]
async fn a_checkpoint_is_recorded_and_resumed_from() {
    let world = World::new().await;
    let spec = json!({"do": "finish", "checkpoint": "half way", "gate": world.path("gate")});
    world.fleet.with(|table| table.ready.push_back(world.offer(1, spec)));
    let _worker = world.worker();
    world.fleet.until("a checkpoint", |table| !table.checkpoints.is_empty()).await;
    let checkpoint = world.fleet.with(|table| table.checkpoints[0].clone());
    assert_eq!((checkpoint.step, checkpoint.task), (1, Some(v1::Task { job: 1, attempt: 1 })));

    world.open("gate");
    let mut again = world.offer(2, json!({"do": "finish"}));
    again.checkpoint = checkpoint.artifact;
    world.fleet.with(|table| table.ready.push_back(again));
    world.fleet.until("both", |table| table.completed.len() == 2).await;
    assert_eq!(world.result(2, "resumed/state").await, "half way");
}

#[tokio::test]
async fn a_checkpoint_that_is_gone_costs_only_time() {
    let world = World::new().await;
    let mut offer = world.offer(1, json!({"do": "finish"}));
    let digest = worker_artifacts::hash_bytes(b"gone").digest.to_string();
    offer.checkpoint = Some(v1::Artifact { path: "checkpoints/gone".to_owned(), digest });
    world.fleet.with(|table| table.ready.push_back(offer));
    let _worker = world.worker();
    world.fleet.until("a commit", |table| table.is_completed(1)).await;
}

#[tokio::test]
async fn damaged_inputs_and_senseless_offers_fail_with_a_reason() {
    let world = World::new().await;
    let traces = world.import("traces.jsonl", "good").await;
    let blob = worker_artifacts::hash_bytes(b"good").object();
    std::fs::write(world.path("store").join(&blob), "evil").unwrap();
    let mut damaged = world.offer(1, json!({"do": "finish"}));
    damaged.inputs = vec![input("traces", &traces)];
    let senseless = v1::Offer { spec: "{".to_owned(), ..world.offer(2, json!({})) };
    world.fleet.with(|table| table.ready.extend([damaged, senseless]));
    let _worker = world.worker();
    world.fleet.until("two failures", |table| table.failed.len() == 2).await;
    let mut failed = world.fleet.with(|table| table.failed.clone());
    failed.sort_by_key(|failed| failed.task.unwrap().job);
    assert_eq!(failed[0].code, "storage");
    assert!(
        failed[0].message.starts_with(&format!("`{blob}` is damaged: expected sha256 ")),
        "{}",
        failed[0].message
    );
    assert_eq!(failed[1].code, "spec");
    assert!(failed[1].message.starts_with("the offer makes no sense: spec: "), "{}", failed[1].message);
}

#[tokio::test]
async fn what_the_runner_says_is_kept_for_each_attempt() {
    let world = World::new().await;
    let killer = world.offer(1, json!({"do": "die", "gate": world.path("gate")}));
    let key = killer.key.parse().map(proto::id::JobKey).unwrap();
    world.fleet.with(|table| table.ready.push_back(killer));
    let _worker = world.worker();
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    world.open("gate");
    world.fleet.until("a failure", |table| table.failed.len() == 1).await;
    let said = async {
        loop {
            let text = world.artifacts.log(key, proto::id::Attempt(1), 0).await.unwrap();
            match text {
                Some(text) => return String::from_utf8(text.to_vec()).unwrap(),
                None => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    };
    let said = tokio::time::timeout(std::time::Duration::from_secs(20), said).await.unwrap();
    assert!(said.ends_with("illegal memory access\n"), "{said}");
}
