//! Several coordinators: one leads, the others stand by, and the worker finds the one that serves.

use serde_json::json;
use worker::Fleet;

use crate::fleet::{FakeFleet, Table};
use crate::world::{Inside, World};

/// Leads the world's second coordinator, or its first.
fn lead(leader: &FakeFleet, other: &FakeFleet, term: u64, told: &str) {
    other.with(|table| table.stands_by = Some(told.to_owned()));
    leader.with(|table| (table.stands_by, table.term) = (None, term));
}

/// A world with a second coordinator over the same store, and a worker that was told some addresses.
async fn world(
    addresses: impl Fn(&FakeFleet, &FakeFleet) -> String,
    told: bool,
) -> (World, FakeFleet, Inside) {
    let world = World::new().await;
    let second = FakeFleet::serve(world.artifacts.url()).await;
    let leader = if told { second.url() } else { String::new() };
    lead(&second, &world.fleet, 1, &leader);
    second.with(|table| table.ready.push_back(world.offer(1, json!({}))));
    let urls = addresses(&world.fleet, &second);
    let inside = world.inside(|worker| worker.fleet = Fleet::connect(&urls).unwrap());
    second.until("a running job", |table| table.running() == [1].into()).await;
    (world, second, inside)
}

fn both(first: &FakeFleet, second: &FakeFleet) -> String {
    format!("{}, {}", first.url(), second.url())
}

#[tokio::test]
async fn a_worker_goes_to_the_coordinator_that_serves_and_back_again() {
    let (world, second, inside) = world(both, false).await;
    lead(&world.fleet, &second, 2, "");
    inside.puppets.finish(1);
    let committed = |table: &Table| table.is_completed(1);
    world.fleet.until("a commit at the first", committed).await;
    world.fleet.with(|table| {
        assert_eq!((table.completed[0].term, table.registrations[0].held.len()), (2, 1));
        table.ready.push_back(world.offer(2, json!({})));
    });
    inside.puppets.started(2).await;

    lead(&second, &world.fleet, 3, "");
    inside.puppets.finish(2);
    second.until("a commit at the second", |table| table.is_completed(2)).await;
    second.with(|table| assert!(table.completed.len() == 1 && table.completed[0].term == 3));
}

#[tokio::test]
async fn a_worker_follows_to_a_leader_that_nobody_named_and_returns() {
    let (world, second, inside) = world(|first, _| first.url(), true).await;
    world.fleet.with(|table| assert_eq!(table.turned_away, ["register"]));
    lead(&world.fleet, &second, 2, "");
    inside.puppets.finish(1);
    world.fleet.until("a commit at the first", |table| table.is_completed(1)).await;
    world.fleet.with(|table| assert_eq!(table.completed[0].term, 2));
}

#[tokio::test]
async fn an_outage_of_the_leader_sends_the_worker_to_the_one_that_takes_over() {
    let (world, second, inside) = world(both, true).await;
    second.with(|table| table.away = true);
    inside.puppets.finish(1);
    second.until("a commit turned away", |table| table.turned_away.contains(&"complete")).await;
    world.fleet.until("the other asked too", |table| table.turned_away.contains(&"complete")).await;
    world.fleet.with(|table| (table.stands_by, table.term) = (None, 2));
    world.fleet.until("a commit", |table| table.is_completed(1)).await;
    world.fleet.with(|table| assert_eq!(table.registrations[0].held.len(), 1));
}

#[tokio::test]
async fn when_nobody_serves_each_is_named_with_its_reason() {
    let world = World::new().await;
    let second = FakeFleet::serve(world.artifacts.url()).await;
    world.fleet.with(|table| table.stands_by = Some(String::new()));
    second.with(|table| table.away = true);
    let inside = world.inside(|worker| {
        worker.fleet = Fleet::connect(&both(&world.fleet, &second)).unwrap();
        worker.settings.connect_timeout = std::time::Duration::ZERO;
    });
    let error = inside.end().await.unwrap_err().to_string();
    let expected = format!(
        "cannot reach the coordinator at {}: this coordinator stands by, and nobody leads yet; \
         cannot reach the coordinator at {}: away",
        world.fleet.url(),
        second.url()
    );
    assert_eq!(error, expected);
}
