//! Ways out: told by a signal, by the coordinator, by the clock.

use std::time::Duration;

use crate::world::World;
use serde_json::json;

#[tokio::test]
async fn the_coordinator_drains_a_worker_and_calls_it_off() {
    let world = World::new().await;
    let inside = world.busy(|_| {}).await;
    world.fleet.with(|table| table.drain = Some(600_000));
    world.fleet.until("a drain", |table| table.draining).await;
    world.fleet.until("the waiting job back", |table| table.released() == [2]).await;
    inside.puppets.until("a wish for a checkpoint", |play| play.is_asked_to_save(1)).await;
    inside.puppets.save(1, 5);
    inside.puppets.until("a stop", |play| play.is_stopped(1)).await;
    world.fleet.until("the running job back", |table| table.released() == [2, 1]).await;
    let (checkpoints, heartbeats) = world.fleet.with(|table| {
        table.ready.push_back(world.offer(3, json!({})));
        (table.checkpoints.clone(), table.heartbeats)
    });
    assert_eq!((checkpoints.len(), checkpoints[0].step), (1, 5));
    world.fleet.until("an idle time", |table| table.heartbeats > heartbeats + 5).await;
    assert_eq!(world.fleet.with(|table| table.ready.len()), 1, "a worker that drains takes nothing");
    world.fleet.with(|table| table.drain = None);
    inside.puppets.started(3).await;
    world.fleet.until("the drain's end", |table| !table.draining).await;
    assert_eq!(inside.puppets.with(|play| play.launched), 1);
    assert_eq!((inside.metrics.jobs_released.get(), inside.metrics.checkpoints_recorded.get()), (2, 1));
}

#[tokio::test]
async fn a_job_goes_on_when_the_drain_is_called_off_before_it_is_saved() {
    let world = World::new().await;
    let inside = world.busy(|_| {}).await;
    world.fleet.with(|table| table.drain = Some(600_000));
    inside.puppets.until("a wish for a checkpoint", |play| play.is_asked_to_save(1)).await;
    world.fleet.with(|table| table.drain = None);
    world.fleet.until("the drain's end", |table| table.draining).await;
    world.fleet.until("the drain's end", |table| !table.draining).await;
    inside.puppets.save(1, 5);
    world.fleet.until("a checkpoint", |table| table.checkpoints.len() == 1).await;
    inside.puppets.finish(1);
    world.fleet.until("a commit", |table| table.is_completed(1)).await;
    assert!(!inside.puppets.with(|play| play.is_stopped(1)));
}

#[tokio::test]
async fn a_job_that_ends_within_the_grace_ends() {
    let world = World::new().await;
    let inside = world.busy(|worker| worker.settings.drain_grace = Duration::from_secs(600)).await;
    inside.puppets.progress(1, 1, 100);
    inside.puppets.progress(1, 99, 100);
    world
        .fleet
        .until("a progress", |table| table.heartbeat.iter().any(|h| h.progress.is_some_and(|p| p.step == 99)))
        .await;
    inside.exit.drain();
    world.fleet.until("the waiting job back", |table| table.released() == [2]).await;
    inside.puppets.finish(1);
    let puppets = inside.puppets.clone();
    inside.end().await.unwrap();
    assert!(!puppets.with(|play| play.is_asked_to_save(1)));
    assert_eq!(puppets.with(|play| (play.launched, play.ended)), (1, 1));
    world.fleet.with(|table| assert!(table.is_completed(1) && table.released() == [2]));
}

#[tokio::test]
async fn what_is_left_when_the_grace_is_over_goes_back_as_it_is() {
    let world = World::new().await;
    let inside = world.busy(|worker| worker.settings.drain_grace = Duration::from_millis(300)).await;
    inside.exit.drain();
    let puppets = inside.puppets.clone();
    inside.end().await.unwrap();
    assert!(puppets.with(|play| play.is_asked_to_save(1)));
    world.fleet.with(|table| assert!(table.released() == [2, 1] && table.checkpoints.is_empty()));
}

#[tokio::test]
async fn a_worker_leaves_before_its_time_limit() {
    let world = World::new().await;
    let change = |worker: &mut worker::Worker| {
        worker.settings.drain_grace = Duration::from_secs(10);
        worker.settings.time_limit = Some(Duration::from_secs(12));
    };
    let inside = world.busy(change).await;
    inside.puppets.until("a wish for a checkpoint", |play| play.is_asked_to_save(1)).await;
    inside.puppets.save(1, 5);
    inside.end().await.unwrap();
    world.fleet.with(|table| {
        assert!(table.draining && table.released() == [2, 1]);
        assert_eq!(table.checkpoints[0].step, 5);
    });
}

#[tokio::test]
async fn sigterm_saves_jobs_and_gives_them_back() {
    let world = World::new().await;
    let spec = json!({"gate": world.path("gate"), "note": world.path("note")});
    world.fleet.with(|table| table.ready.push_back(world.offer(1, spec)));
    let mut worker = world.start(&mut world.command("cpu"));
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    worker.signal("TERM");
    let (code, log) = worker.end().await;
    assert_eq!(code, 0, "{log}");
    assert_eq!(world.fleet.with(|table| (table.released(), table.checkpoints[0].step)), (vec![1], 2));
    crate::world::gone(&world.path("note")).await;
    assert!(!world.path("worker/scratch").exists());
}

#[tokio::test]
async fn a_notice_drains_and_a_second_sigterm_ends_at_once() {
    let world = World::new().await;
    let spec = json!({"do": "hang", "note": world.path("note")});
    world.fleet.with(|table| table.ready.push_back(world.offer(1, spec)));
    let mut worker = world.start(world.command("cpu").args(["--drain-grace", "1h"]));
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    worker.signal("USR1");
    world.fleet.until("a drain", |table| table.draining).await;
    worker.signal("TERM");
    let heartbeats = world.fleet.with(|table| table.heartbeats);
    world.fleet.until("a drain that goes on", |table| table.heartbeats > heartbeats + 3).await;
    worker.signal("TERM");
    let (code, log) = worker.end().await;
    assert_eq!(code, 5, "{log}");
    assert!(log.ends_with("error: ended with 1 attempts not given back\n"), "{log}");
    crate::world::gone(&world.path("note")).await;
}
