//! Losing, regaining and ending the contact with the coordinator.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::fleet::Table;
use crate::world::{World, gone};
use serde_json::{Value, json};

/// A job that waits at `gate`.
fn waiting(world: &World) -> Value {
    json!({"do": "finish", "gate": world.path("gate"), "note": world.path("note")})
}

#[tokio::test]
async fn what_is_finished_while_the_coordinator_is_away_is_committed_after_its_return() {
    let world = World::new().await;
    world.fleet.with(|table| table.ready.push_back(world.offer(1, waiting(&world))));
    let _worker = world.worker();
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    world.fleet.with(|table| table.away = true);
    world.open("gate");
    world.fleet.until("a commit turned away", |table| table.turned_away.contains(&"complete")).await;
    world.fleet.with(|table| (table.away, table.term) = (false, 2));
    world.fleet.until("a commit", |table| table.is_completed(1)).await;
    let (registrations, completed) =
        world.fleet.with(|table| (table.registrations.clone(), table.completed.clone()));
    assert_eq!(registrations[1].held.len(), 1);
    assert_eq!(registrations[0].incarnation, registrations[1].incarnation);
    assert_eq!((completed.len(), completed[0].term), (1, 2));
}

#[tokio::test]
async fn nothing_is_committed_on_a_lease_that_may_have_run_out() {
    let world = World::new().await;
    world.fleet.with(|table| {
        table.ttl_ms = 600;
        table.ready.push_back(world.offer(1, waiting(&world)));
    });
    let _worker = world.worker();
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    world.fleet.with(|table| table.deaf = true);
    let since = Instant::now();
    world.fleet.until("the lease's end", |_| since.elapsed() > Duration::from_millis(700)).await;
    world.open("gate");
    let turned_away = world.fleet.with(|table| table.turned_away.len());
    world.fleet.until("more heartbeats", |table| table.turned_away.len() > turned_away + 10).await;
    world.fleet.with(|table| {
        assert!(table.completed.is_empty());
        table.deaf = false;
    });
    world.fleet.until("a commit", |table| table.is_completed(1)).await;
}

#[tokio::test]
async fn a_stale_result_is_dropped_and_work_goes_on() {
    let world = World::new().await;
    world.fleet.with(|table| {
        table.stale.insert(1);
        table
            .ready
            .extend([world.offer(1, json!({"do": "finish"})), world.offer(2, json!({"do": "finish"}))]);
    });
    let _worker = world.worker();
    let over =
        |table: &Table| table.is_completed(2) && !table.turned_away.is_empty() && table.heartbeat.is_empty();
    world.fleet.until("both ends", over).await;
    world.fleet.with(|table| {
        assert_eq!((table.turned_away.as_slice(), table.completed.len()), (["complete"].as_slice(), 1));
        assert!(table.failed.is_empty());
    });
}

#[tokio::test]
async fn a_stopped_job_makes_room_in_silence() {
    let world = World::new().await;
    let offers = [world.fan_offer(1, "f"), world.fan_offer(2, "f"), world.fan_offer(3, "f")];
    world.fleet.with(|table| table.ready.extend(offers));
    let _worker = world.worker();
    world.fleet.until("two jobs", |table| table.running() == [1, 2].into()).await;
    world.fleet.with(|table| table.stop.insert(1));
    world.fleet.until("the third", |table| table.running() == [2, 3].into()).await;
    world.fleet.with(|table| assert!(table.failed.is_empty() && table.completed.is_empty()));
}

#[tokio::test]
async fn fenced_attempts_are_dropped_on_reattachment() {
    let world = World::new().await;
    world.fleet.with(|table| table.ready.extend([world.fan_offer(1, "f"), world.fan_offer(2, "f")]));
    let _worker = world.worker();
    world.fleet.until("two jobs", |table| table.running() == [1, 2].into()).await;
    world.fleet.with(|table| {
        table.term = 2;
        table.stale.insert(1);
    });
    world.fleet.until("one job", |table| table.running() == [2].into()).await;
    world.open("2");
    world.fleet.until("a commit", |table| table.is_completed(2)).await;
}

#[tokio::test]
async fn the_end_of_standard_input_ends_a_child() {
    let world = World::new().await;
    world.fleet.with(|table| table.ready.push_back(world.offer(1, waiting(&world))));
    let mut worker = world.worker();
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    drop(worker.child.stdin.take());
    let (code, log) = worker.end().await;
    assert_eq!(code, 0, "{log}");
    assert!(world.fleet.with(|table| table.failed[0].released));
    gone(&world.path("note")).await;
}

#[tokio::test]
async fn an_orphan_does_not_wait_for_a_coordinator_that_is_gone() {
    let world = World::new().await;
    world.fleet.with(|table| table.ready.push_back(world.offer(1, waiting(&world))));
    let mut worker = world.worker();
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    world.fleet.with(|table| table.away = true);
    let began = Instant::now();
    drop(worker.child.stdin.take());
    let (code, log) = worker.end().await;
    assert_eq!(code, 0, "{log}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_killed_worker_takes_its_runner_along_and_its_folder_can_be_used_again() {
    let world = World::new().await;
    world.fleet.with(|table| table.ready.push_back(world.offer(1, waiting(&world))));
    let mut worker = world.worker();
    world.fleet.until("a running job", |table| table.running() == [1].into()).await;
    worker.child.kill().await.unwrap();
    gone(&world.path("note")).await;
    world.fleet.with(|table| table.ready.push_back(world.offer(2, json!({"do": "finish"}))));
    let _next = world.worker();
    world.fleet.until("a commit", |table| table.is_completed(2)).await;
    let names =
        world.fleet.with(|table| table.registrations.iter().map(|r| r.name.clone()).collect::<Vec<_>>());
    assert_eq!(names[0], names[1]);
}

/// Runs a worker that fails at once; returns its standard error.
async fn refused(command: &mut tokio::process::Command) -> String {
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = tokio::time::timeout(Duration::from_secs(20), output).await.expect("a failure").unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn mistakes_at_the_start_are_one_line() {
    let mut world = World::new().await;
    let error = refused(world.command("broken").env("QUIVER_WORKER__LOG", "off")).await;
    let expected = "error: the runner for `broken` did not start: exit status: 3; its last words: no such device: broken\n";
    assert_eq!(error, expected);

    let error = refused(world.command("cpu").env("QUIVER_WORKER__LOGS", "x")).await;
    let expected =
        "error: QUIVER_WORKER__LOGS: unknown setting `worker.logs`; the nearest valid one is `worker.log`\n";
    assert_eq!(error, expected);

    let error = refused(world.command("cpu").args(["--device", "cpu"])).await;
    assert_eq!(error, "error: device `cpu` is named twice\n");

    for (key, value, expected) in [
        ("TIME_LIMIT", "15s", "`time_limit` (15s) must be longer than `drain_grace` (15s)"),
        (
            "TIME_LIMIT",
            "soon",
            "QUIVER_WORKER__TIME_LIMIT: `worker.time_limit`: `soon` is no duration like `30s`: expected number at 0",
        ),
        ("ORPHAN_GRACE", "0s", "`orphan_grace` is 0; the shortest that makes sense is some seconds"),
        ("NAME", "' '", "`name` is empty; leave it out for one made of host and folder"),
        (
            "MIN_FREE_DISK",
            "much",
            "QUIVER_WORKER__MIN_FREE_DISK: `worker.min_free_disk`: `much` is no size like `2GiB`",
        ),
    ] {
        let mut command = world.command("cpu");
        let error = refused(command.env(format!("QUIVER_WORKER__{key}"), value)).await;
        assert_eq!(error, format!("error: {expected}\n"), "{key}");
    }

    world.fleet.address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refused(world.command("cpu").args(["--connect-timeout", "300ms"])).await;
    let address = world.fleet.address;
    let expected = format!(
        "error: cannot reach the coordinator at http://{address}: Connection refused (os error 111)\n"
    );
    assert_eq!(error, expected);

    world.runner = "/nowhere/runner".into();
    let error = refused(&mut world.command("cpu")).await;
    assert_eq!(error, "error: there is no runner at /nowhere/runner; name one by --runner\n");
}
