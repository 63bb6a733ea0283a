//! What a SQLite table must survive: another owner, a restart, a write that was never finished.

mod common;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use common::*;
use coordinator_core::time::Micros;
use coordinator_store::{SqlStore, Store, StoreError};
use proto::state::SweepState;

#[tokio::test]
async fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new folder/jobs.db");
    let store = SqlStore::sqlite(&path, policy()).await.unwrap();
    let sweep = store.submit(at(1), small_sweep()).await.unwrap().sweep;
    let worker = worker(&store, 2).await;
    let held = tasks(&store.claim_one(at(3), claim(worker, None, 8)).await.unwrap());
    let (facts, events) = (store.facts().await.unwrap(), store.events(0, u32::MAX).await.unwrap());
    store.close().await;

    let store = SqlStore::sqlite(&path, policy()).await.unwrap();
    assert_eq!((store.facts().await.unwrap(), store.events(0, u32::MAX).await.unwrap()), (facts, events));
    assert_eq!(store.expire(at(5_100), Micros(5_000)).await.unwrap(), 0, "nobody expires during warm-up");
    let back = store.register(at(5_101), session("w", "1"), held.clone()).await.unwrap();
    assert_eq!((back.worker, back.keep), (worker, held.clone()));
    for (n, task) in (1..).zip(held) {
        store.commit(at(5_102), worker, task, completion(n)).await.unwrap();
    }
    let last = store.claim_one(at(5_103), claim(worker, None, 8)).await.unwrap();
    store.commit(at(5_104), worker, last[0].task, completion(9)).await.unwrap();
    assert_eq!(store.sweep(sweep).await.unwrap().unwrap().row.state, SweepState::Succeeded);
    check(&store, &[]).await;
}

#[tokio::test]
async fn a_second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.db");
    let first = SqlStore::sqlite(&path, policy()).await.unwrap();
    let refused = SqlStore::sqlite(&path, policy()).await.unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }));
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    first.close().await;
    SqlStore::sqlite(&path, policy()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jobs.db");
    std::fs::write(&path, "not a database, but long enough to have a header of its own").unwrap();
    let refused = SqlStore::sqlite(&path, policy()).await.unwrap_err().to_string();
    assert!(refused.contains("not a database"), "{refused}");
}

/// A call that is dropped at any point leaves the table whole: all of its transaction or nothing of it.
#[tokio::test]
async fn a_dropped_call_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqlStore::sqlite(&dir.path().join("jobs.db"), policy()).await.unwrap();
    let mut before = Vec::new();
    for polls in 0.. {
        let submitted = within(polls, store.submit(at(1), small_sweep())).await;
        before = check(&store, &before).await;
        assert!(before.is_empty() || before.len() == 3, "half a sweep");
        if submitted.is_some() {
            break;
        }
    }
    assert_eq!(before.len(), 3);
}

/// Runs a future until it has been woken `polls` times, then drops it.
async fn within<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
