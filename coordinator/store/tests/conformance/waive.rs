//! Going on without some results.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use coordinator_store::model::{NewSweep, Offer, Selection};
use coordinator_store::{Store, StoreError};
use proto::error::ErrorCode;
use proto::id::{JobId, SweepId, WorkerId};
use proto::state::{JobState, SweepState};

use crate::common::*;

/// Three adapters, what reads them and goes on without `may_miss`, and what reads that.
fn three_adapters(may_miss: u32) -> NewSweep {
    let adapter = |n| job(n, Some(9), 50 - u64::from(n), &[]);
    let joint = tolerant(may_miss, job(4, None, 10, &[1, 2, 3]));
    sweep(100, vec![adapter(1), adapter(2), adapter(3), joint, job(5, None, 1, &[4])])
}

/// Commits job 1 and lets the others fail for good.
async fn one_of_three(store: &dyn Store, worker: WorkerId) {
    for offer in store.claim_one(at(3), claim(worker, None, 8)).await.unwrap() {
        if offer.label == "job 1" {
            store.commit(at(4), worker, offer.task, completion(1)).await.unwrap();
        } else {
            store.fail(at(5), worker, offer.task, failed(ErrorCode::Data)).await.unwrap();
        }
    }
}

async fn state(store: &dyn Store, sweep: SweepId) -> SweepState {
    store.sweep(sweep).await.unwrap().unwrap().row.state
}

fn inputs(offer: &Offer) -> Vec<&str> {
    offer.inputs.iter().map(|input| input.name.as_str()).collect()
}

fn some(sweep: SweepId, jobs: &[i64]) -> Selection {
    Selection { sweep, jobs: jobs.iter().copied().map(JobId).collect() }
}

conformance! {
    /// A gate by fraction: the joint job starts without what failed, as far as it may, and all that was missed is named.
    what_may_be_missed_is_waived_at_the_end, store => {
        let sweep = store.submit(at(1), three_adapters(2)).await.unwrap().sweep;
        let worker = worker(store, 2).await;
        one_of_three(store, worker).await;
        let view = store.sweep(sweep).await.unwrap().unwrap();
        let named: Vec<_> = view.failures.iter().map(|f| (f.label.as_str(), f.waived, f.code)).collect();
        assert_eq!(named, [("job 2", true, Some(ErrorCode::Data)), ("job 3", true, Some(ErrorCode::Data))]);
        for (n, label) in [(7, "job 4"), (8, "job 5")] {
            let offers = store.claim_one(at(6), claim(worker, None, 8)).await.unwrap();
            assert_eq!(offers[0].label, label);
            assert_ne!(offers[0].key, key(offers[0].task.job.0 as u8), "a result with less in it has a key of its own");
            if n == 7 {
                assert_eq!(inputs(&offers[0]), ["dataset", "need/1"]);
            }
            store.commit(at(7), worker, offers[0].task, completion(n)).await.unwrap();
        }
        assert_eq!(state(store, sweep).await, SweepState::Succeeded);
        let again = store.submit(at(8), three_adapters(2)).await.unwrap();
        assert!(!again.joined, "a sweep that lacks something is no answer to a new one");
        let states = states(store, again.sweep).await;
        let expected = [JobState::Succeeded, JobState::Ready, JobState::Ready, JobState::Blocked, JobState::Blocked];
        assert_eq!(states.into_values().collect::<Vec<_>>(), expected);
    }
}

conformance! {
    /// One failure more than the gate allows ends the sweep; an operator may waive it all the same.
    what_may_not_be_missed_waits_for_an_operator, store => {
        let sweep = store.submit(at(1), three_adapters(1)).await.unwrap().sweep;
        let worker = worker(store, 2).await;
        one_of_three(store, worker).await;
        assert_eq!(state(store, sweep).await, SweepState::Failed);
        assert_eq!(store.waive(at(6), some(sweep, &[2])).await.unwrap(), 1);
        assert_eq!(state(store, sweep).await, SweepState::Failed, "job 3 is lacking still, and one was missed");
        assert_eq!(store.waive(at(7), some(sweep, &[3])).await.unwrap(), 1);
        assert_eq!(state(store, sweep).await, SweepState::Running);
        assert_eq!(states(store, sweep).await["job 4"], JobState::Ready);
        assert_eq!(store.waive(at(8), some(sweep, &[2, 3])).await.unwrap(), 0, "it happens once");
    }
}

conformance! {
    /// What another job cannot do without is waived together with that job or not at all.
    what_is_needed_cannot_be_waived, store => {
        let sweep = store.submit(at(1), three_adapters(0)).await.unwrap().sweep;
        match store.waive(at(2), some(sweep, &[4])).await {
            Err(StoreError::Needed { label, by }) => assert_eq!((label.as_str(), by.as_str()), ("job 4", "job 5")),
            other => panic!("{other:?}"),
        }
        assert_eq!(states(store, sweep).await["job 4"], JobState::Blocked);
        assert_eq!(store.waive(at(3), some(sweep, &[4, 5])).await.unwrap(), 2);
        assert_eq!(state(store, sweep).await, SweepState::Running, "the adapters are wanted still");
    }
}

conformance! {
    /// A held job is not waived, and a waived one can be tried again.
    a_waived_job_can_be_tried_again, store => {
        let sweep = store.submit(at(1), three_adapters(0)).await.unwrap().sweep;
        let worker = worker(store, 2).await;
        let offers = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap();
        assert_eq!(store.waive(at(4), some(sweep, &[1, 2])).await.unwrap(), 1, "job 1 is held");
        assert_eq!(states(store, sweep).await["job 2"], JobState::Skipped);
        store.commit(at(5), worker, offers[0].task, completion(1)).await.unwrap();
        assert_eq!(store.retry(at(6), some(sweep, &[2])).await.unwrap(), 1);
        assert_eq!(states(store, sweep).await["job 2"], JobState::Ready);
        let offers = store.claim_one(at(7), claim(worker, None, 8)).await.unwrap();
        for (n, offer) in (2..).zip(&offers) {
            store.commit(at(8), worker, offer.task, completion(n)).await.unwrap();
        }
        let offers = store.claim_one(at(9), claim(worker, None, 8)).await.unwrap();
        assert_eq!(inputs(&offers[0]), ["dataset", "need/1", "need/3"], "it was planned anew without job 2");
    }
}

conformance! {
    /// A failure that one sweep could do without is not waived while another cannot.
    a_shared_job_is_waived_when_all_may_miss_it, store => {
        let first = store.submit(at(1), three_adapters(2)).await.unwrap().sweep;
        let strict = sweep(101, vec![job(2, Some(9), 48, &[]), job(6, None, 1, &[2])]);
        let strict = store.submit(at(1), strict).await.unwrap().sweep;
        let worker = worker(store, 2).await;
        one_of_three(store, worker).await;
        assert_eq!((state(store, first).await, state(store, strict).await), (SweepState::Failed, SweepState::Failed));
        assert_eq!(states(store, first).await["job 4"], JobState::Blocked);
        let least = sweep(102, vec![job(1, Some(9), 49, &[]), tolerant(0, job(4, None, 10, &[1]))]);
        store.submit(at(6), least).await.unwrap();
        assert_eq!(store.retry(at(7), some(first, &[3])).await.unwrap(), 1);
        let offers = store.claim_one(at(8), claim(worker, None, 8)).await.unwrap();
        store.commit(at(9), worker, offers[0].task, completion(3)).await.unwrap();
        assert_eq!(state(store, first).await, SweepState::Failed, "job 4 was planned anew since, to miss nothing");
    }
}
