//! Runners that do not obey.

use std::time::Duration;

use crate::world::World;
use proto::v1;
use serde_json::json;

#[tokio::test]
async fn a_runner_that_hangs_is_killed_and_other_lanes_go_on() {
    let world = World::new().await;
    let mut hanging = world.fan_offer(1, "f");
    hanging.spec = json!({"do": "hang", "gate": world.path("1"), "note": world.path("note")}).to_string();
    world.fleet.with(|table| table.ready.extend([hanging, world.fan_offer(3, "g")]));
    let mut command = world.command("cpu");
    let _worker =
        world.start(command.args(["--device", "cpu:1"]).env("QUIVER_WORKER__STOP_TIMEOUT", "300ms"));
    world.fleet.until("a job in each lane", |table| table.running() == [1, 3].into()).await;
    world.fleet.with(|table| table.ready.push_back(world.fan_offer(2, "f")));
    world.fleet.until("three jobs", |table| table.running() == [1, 2, 3].into()).await;
    world.open("1");
    world.fleet.with(|table| table.stop.insert(1));
    world.fleet.until("a failure", |table| !table.failed.is_empty()).await;
    let failed = world.fleet.with(|table| table.failed.clone());
    assert_eq!((failed[0].code.as_str(), failed[0].released), ("runner_died", false));
    assert_eq!(failed[0].task, Some(v1::Task { job: 2, attempt: 1 }));
    assert!(
        failed[0].message.contains("did not obey a stop within 300ms and was killed: signal: 9"),
        "{failed:?}"
    );
    crate::world::gone(&world.path("note")).await;
    world.fleet.with(|table| table.ready.push_back(world.fan_offer(4, "f")));
    world.fleet.until("a job in the new runner", |table| table.running() == [3, 4].into()).await;
    world.open("3");
    world.open("4");
    world.fleet.until("both commits", |table| table.is_completed(3) && table.is_completed(4)).await;
    assert_eq!(world.fleet.with(|table| table.failed.len()), 1);
}

#[tokio::test]
async fn a_job_that_a_hanging_runner_never_began_starts_in_the_next() {
    let world = World::new().await;
    let inside = world.busy(|worker| worker.settings.stop_timeout = Duration::from_millis(200)).await;
    let puppets = &inside.puppets;
    puppets.hang(true);
    world.fleet.with(|table| table.stop.insert(1));
    puppets.until("a start that is not answered", |play| play.starts() == [1, 2]).await;
    puppets.until("a kill", |play| play.ended == 1).await;
    puppets.hang(false);
    puppets.until("a second start", |play| play.launched == 2 && play.starts() == [1, 2, 2]).await;
    puppets.finish(2);
    world.fleet.until("a commit", |table| table.is_completed(2)).await;
    assert!(world.fleet.with(|table| table.failed.is_empty()));
    assert_eq!(inside.metrics.runners_lost.get(), 1);
}

#[tokio::test]
async fn an_idle_runner_that_was_told_to_stop_is_left_alone() {
    let world = World::new().await;
    world.fleet.with(|table| table.ready.push_back(world.offer(1, json!({}))));
    let inside = world.inside(|worker| worker.settings.stop_timeout = Duration::from_millis(100));
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    world.fleet.with(|table| table.stop.insert(1));
    inside.puppets.until("a stop", |play| play.is_stopped(1)).await;
    let heartbeats = world.fleet.with(|table| table.heartbeats);
    world.fleet.until("a while", |table| table.heartbeats > heartbeats + 8).await;
    world.fleet.with(|table| table.ready.push_back(world.offer(2, json!({}))));
    inside.puppets.started(2).await;
    inside.puppets.finish(2);
    world.fleet.until("a commit", |table| table.is_completed(2)).await;
    assert_eq!(inside.puppets.with(|play| play.launched), 1);
}
