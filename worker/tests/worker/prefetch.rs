//! Jobs held ready: who starts when, and how long a slot is idle.

use std::time::Duration;

use crate::world::World;
use proto::v1;
use serde_json::json;

#[tokio::test]
async fn a_slot_is_refilled_at_once_while_calls_for_jobs_take_half_a_second() {
    let world = World::new().await;
    world.fleet.with(|table| {
        (table.prefetch, table.acquire_takes) = (true, Duration::from_millis(500));
        table.ready.push_back(world.offer(1, json!({})));
    });
    let inside = world.inside(|_| {});
    inside.puppets.started(1).await;
    world.fleet.with(|table| table.ready.extend((2..=6).map(|job| world.offer(job, json!({})))));
    for job in 1..=6 {
        inside.puppets.started(job).await;
        if job < 6 {
            let next = |table: &crate::fleet::Table| table.waiting().contains(&(job + 1));
            world.fleet.until("the next job in the worker", next).await;
        }
        inside.puppets.finish(job);
    }
    world.fleet.until("all commits", |table| table.completed.len() == 6).await;
    let gap = inside.metrics.idle_gap();
    println!("idle gap: {gap:?}");
    assert_eq!(gap.count, 5);
    assert!(gap.max < Duration::from_millis(200), "{gap:?}");
    world.fleet.until("nothing held", |table| table.heartbeat.is_empty()).await;
    let metrics = &inside.metrics;
    let counts = [&metrics.jobs_taken, &metrics.jobs_started, &metrics.jobs_committed].map(|c| c.get());
    assert_eq!((counts, metrics.jobs_failed.get(), metrics.upload_bytes.get()), ([6, 6, 6], 0, 6));
    assert_eq!((metrics.jobs_held.get(), metrics.jobs_running.get()), (0, 0));
}

#[tokio::test]
async fn slots_are_refilled_from_the_same_fan_and_others_wait_for_an_empty_lane() {
    let world = World::new().await;
    world.fleet.with(|table| {
        table.prefetch = true;
        table.ready.extend([world.fan_offer(1, "f"), world.fan_offer(2, "f")]);
        table.ready.extend([world.fan_offer(3, "g"), world.offer(4, json!({})), world.fan_offer(5, "f")]);
    });
    let inside = world.inside(|_| {});
    let puppets = &inside.puppets;
    world.fleet.until("a full worker", |table| table.waiting() == [3, 4].into()).await;
    world.fleet.until("a full lane", |table| table.running() == [1, 2].into()).await;
    puppets.finish(1);
    puppets.started(5).await;
    puppets.finish(2);
    world.fleet.until("the second commit", |table| table.is_completed(2)).await;
    // Either of the first two may be ready first.
    let starts = || puppets.with(|play| play.starts().split_off(2));
    assert_eq!(starts(), [5], "the fan still runs");
    puppets.finish(5);
    puppets.started(3).await;
    world.fleet.until("the third commit", |table| table.is_completed(5)).await;
    assert_eq!(starts(), [5, 3], "a job alone waits");
    puppets.finish(3);
    puppets.started(4).await;
    puppets.finish(4);
    world.fleet.until("everything", |table| table.completed.len() == 5).await;
    let acquired = world.fleet.with(|table| table.acquired.clone());
    let first = v1::AcquireRequest { wait_ms: 20_000, ..acquired[0].clone() };
    assert_eq!((first.fan.as_str(), first.free_slots, first.prefetch), ("", 1, 1));
    assert!(acquired.iter().any(|call| (call.fan.as_str(), call.free_slots, call.prefetch) == ("f", 0, 2)));
}

#[tokio::test]
async fn nothing_is_held_ready_while_the_end_of_a_job_is_far() {
    let world = World::new().await;
    let inside = world.inside(|worker| worker.settings.drain_grace = Duration::ZERO);
    world.fleet.with(|table| table.ready.push_back(world.offer(1, json!({}))));
    inside.puppets.started(1).await;
    inside.puppets.progress(1, 0, 1_000_000_000);
    inside.puppets.progress(1, 1, 1_000_000_000);
    world
        .fleet
        .until("a progress", |table| table.heartbeat.iter().any(|h| h.progress.is_some_and(|p| p.step == 1)))
        .await;
    world.fleet.with(|table| {
        table.prefetch = true;
        table.ready.push_back(world.offer(2, json!({})));
        table.acquired.clear();
    });
    inside.puppets.progress(1, 999_999_999, 1_000_000_000);
    world.fleet.until("the next job in the worker", |table| table.waiting() == [2].into()).await;
}

#[tokio::test]
async fn what_a_dead_runner_had_not_begun_is_kept() {
    let world = World::new().await;
    let inside = world.busy(|_| {}).await;
    inside.puppets.die();
    inside.puppets.started(2).await;
    inside.puppets.finish(2);
    world.fleet.until("a commit", |table| table.is_completed(2)).await;
    let failed = world.fleet.with(|table| table.failed.clone());
    assert_eq!((failed.len(), failed[0].code.as_str(), failed[0].released), (1, "runner_died", false));
    assert_eq!(failed[0].task, Some(v1::Task { job: 1, attempt: 1 }));
    assert_eq!(inside.metrics.runners_lost.get(), 1);
}
