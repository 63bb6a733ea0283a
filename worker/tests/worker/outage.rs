//! The coordinator away, the disk full, objects condemned: what has to wait, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::world::World;
use proto_kit::clock::ManualClock;
use serde_json::json;
use worker::Error;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_outage_stops_commits_and_nothing_else() {
    let world = World::new().await;
    let inside = world.busy(|_| {}).await;
    world.fleet.with(|table| table.away = true);
    inside.puppets.save(1, 1);
    inside.puppets.finish(1);
    inside.puppets.started(2).await;
    inside.puppets.finish(2);
    let both = |table: &crate::fleet::Table| {
        table.turned_away.iter().filter(|name| **name == "complete").count() >= 2
    };
    world.fleet.until("both commits turned away", both).await;
    world.fleet.with(|table| (table.away, table.term) = (false, 2));
    world.fleet.until("both commits", |table| table.is_completed(1) && table.is_completed(2)).await;
    world.fleet.with(|table| {
        assert_eq!(table.registrations[1].held.len(), 2);
        assert!(table.completed.iter().all(|complete| complete.term == 2) && table.failed.is_empty());
    });
}

#[tokio::test]
async fn an_orphan_saves_what_it_can_and_ends() {
    let world = World::new().await;
    let clock = ManualClock::default();
    world.fleet.with(|table| table.ready.push_back(world.offer(1, json!({}))));
    let inside = world.inside(|worker| worker.clock = Arc::new(clock.clone()));
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    world.fleet.with(|table| table.away = true);
    world.fleet.until("an outage", |table| !table.turned_away.is_empty()).await;
    clock.advance(59 * MINUTE);
    let turned_away = world.fleet.with(|table| table.turned_away.len());
    world.fleet.until("a worker that goes on", |table| table.turned_away.len() > turned_away + 2).await;
    assert!(!inside.ended.is_finished());
    clock.advance(2 * MINUTE);
    inside.puppets.until("a wish for a checkpoint", |play| play.is_asked_to_save(1)).await;
    inside.puppets.save(1, 7);
    let puppets = inside.puppets.clone();
    let error = inside.end().await.unwrap_err();
    assert!(matches!(error, Error::Orphaned { .. }));
    assert_eq!(error.exit_code(), 3);
    let message = error.to_string();
    assert!(message.starts_with("no contact with the coordinator for 1h 1m"), "{message}");
    assert!(message.ends_with(": away)"), "{message}");
    assert_eq!(puppets.with(|play| (play.launched, play.ended)), (1, 1));
    assert!(world.path("store/checkpoints").is_dir());
}

#[tokio::test]
async fn a_worker_whose_place_is_taken_ends_at_once() {
    let world = World::new().await;
    world.fleet.with(|table| table.ready.push_back(world.offer(1, json!({}))));
    let inside = world.inside(|_| {});
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    world.fleet.with(|table| table.superseded = true);
    let puppets = inside.puppets.clone();
    let error = inside.end().await.unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    assert_eq!(puppets.with(|play| (play.commands.len(), play.ended)), (1, 1));
}

#[tokio::test]
async fn condemned_objects_are_uploaded_again() {
    let world = World::new().await;
    world.fleet.with(|table| {
        table.condemned = (2, 1);
        table.ready.push_back(world.offer(1, json!({})));
    });
    let inside = world.inside(|_| {});
    inside.puppets.started(1).await;
    inside.puppets.save(1, 3);
    world.fleet.until("a checkpoint", |table| table.checkpoints.len() == 1).await;
    inside.puppets.finish(1);
    world.fleet.until("a refusal", |table| table.condemned.0 == 1).await;
    let blob = worker_artifacts::hash_bytes(b"1");
    std::fs::remove_file(world.path("store").join(blob.object())).unwrap();
    world.fleet.until("a commit", |table| table.is_completed(1)).await;
    assert_eq!(world.result(1, "result").await, "1");
    let complete = world.fleet.with(|table| table.completed[0].clone());
    assert_eq!(complete.blobs, [blob.digest.to_string()]);
    assert!(world.fleet.with(|table| table.failed.is_empty()));
}

#[tokio::test]
async fn a_disk_short_of_room_takes_no_jobs() {
    let world = World::new().await;
    let free = Arc::new(AtomicU64::new(1 << 30));
    world.fleet.with(|table| table.ready.push_back(world.offer(1, json!({}))));
    let inside = world.inside(|worker| {
        let free = Arc::clone(&free);
        worker.free_space = Arc::new(move |_| Ok(free.load(Ordering::Relaxed)));
    });
    inside.puppets.until("a runner", |play| play.launched == 1).await;
    world.fleet.until("a while", |table| table.heartbeats > 8).await;
    world.fleet.with(|table| assert!(table.acquired.is_empty()));
    free.store(2 << 30, Ordering::Relaxed);
    inside.puppets.started(1).await;
    inside.puppets.finish(1);
    world.fleet.until("a commit", |table| table.is_completed(1)).await;
}
