//! What monitors read of a worker.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::World;

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// An address that was free a moment ago.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn monitors_read_the_workers_figures_where_the_setting_says() {
    let world = World::new().await;
    let input = world.import("data", "12345").await;
    let with_input = |job| {
        let artifact =
            Some(proto::v1::Artifact { path: input.path.clone(), digest: input.digest.to_string() });
        let inputs = vec![proto::v1::Input { name: "input".into(), artifact }];
        proto::v1::Offer { inputs, ..world.offer(job, json!({})) }
    };
    world.fleet.with(|table| table.ready.extend([with_input(1), with_input(2)]));
    let address = free_address().await;
    let inside = world.inside(|worker| worker.settings.metrics = Some(address));
    for job in 1..=2 {
        inside.puppets.started(job).await;
        inside.puppets.finish(job);
    }
    world.fleet.until("all commits", |table| table.completed.len() == 2).await;
    world.fleet.until("nothing held", |table| table.heartbeat.is_empty()).await;
    let metrics = get(address, "/metrics").await;
    for line in [
        "quiver_worker_jobs_taken_total 2",
        "quiver_worker_jobs_committed_total 2",
        "quiver_worker_jobs_held 0",
        "quiver_worker_cache_misses_total 1",
        "quiver_worker_cache_fetched_bytes_total 5",
        "quiver_worker_upload_seconds_count 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let trust = metrics.lines().find_map(|line| line.strip_prefix("quiver_worker_lease_trust_seconds "));
    assert!(trust.unwrap().parse::<f64>().unwrap() > 0.0, "{metrics}");
    assert!(get(address, "/healthz").await.ends_with("alive\n"));
    inside.exit.drain();
    inside.end().await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "it stops with the worker");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let world = World::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let inside = world.inside(|worker| worker.settings.metrics = Some(address));
    let error = inside.end().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("`metrics`: cannot listen on {address}: ")), "{error}");
}
