//! Sweeps and their jobs: shared, cancelled, given another try.

use coordinator_core::time::Micros;
use coordinator_store::model::{JobFilter, Selection, Stamp};
use coordinator_store::{Store, StoreError};
use proto::error::ErrorCode;
use proto::id::{Attempt, JobId, Term};
use proto::state::{JobState, SweepState};

use crate::common::*;

fn all(sweep: proto::id::SweepId) -> Selection {
    Selection { sweep, jobs: vec![] }
}
conformance! {
    /// From submission to the last commit: dependants wait, inputs resolve, results and scores are shown in plan order.
    a_sweep_runs_to_its_end, store => {
        let submitted = store.submit(at(1), small_sweep()).await.unwrap();
        assert!(!submitted.joined);
        let worker = worker(store, 2).await;
        let offers = store.claim_one(at(3), claim(worker, None, 8)).await.unwrap();
        let labels: Vec<_> = offers.iter().map(|o| o.label.as_str()).collect();
        assert_eq!(labels, ["job 2", "job 1"], "longest first, one fan");
        assert_eq!((offers[0].fan, offers[0].sweep.as_str()), (Some(digest(9)), "sweep 100"));
        assert_eq!(store.claim_one(at(3), claim(worker, None, 8)).await.unwrap(), [], "the rest is blocked");
        let held = store.beat(at(4), worker, running(&tasks(&offers))).await.unwrap();
        assert_eq!(held, []);
        for (n, offer) in (1..).zip(&offers) {
            assert_eq!(store.commit(at(5), worker, offer.task, completion(n)).await.unwrap(), artifact(n));
        }
        let offers = store.claim_one(at(6), claim(worker, None, 8)).await.unwrap();
        let inputs: Vec<_> = offers[0].inputs.iter().map(|i| (i.name.as_str(), i.artifact.clone())).collect();
        assert_eq!(inputs, [("dataset", artifact(200)), ("need/1", artifact(2)), ("need/2", artifact(1))]);
        let view = store.sweep(submitted.sweep).await.unwrap().unwrap();
        assert_eq!((view.row.state, view.held.len()), (SweepState::Running, 1));
        store.commit(at(7), worker, offers[0].task, completion(7)).await.unwrap();
        let view = store.sweep(submitted.sweep).await.unwrap().unwrap();
        assert_eq!((view.row.state, view.row.finished_at), (SweepState::Succeeded, Some(Micros(7))));
        assert_eq!(view.results.len(), 1);
        assert_eq!((view.results[0].artifact.clone(), view.results[0].metrics["correct"].clone()), (artifact(7), 7.into()));
        let tally = view.stages[0].counters[&JobState::Succeeded];
        assert_eq!((tally.jobs, tally.tokens, tally.device_ms), (2, 120, 10));
    }
}

conformance! {
    /// Submission is idempotent; another sweep shares what is there and gets results at once.
    jobs_are_shared_by_key, store => {
        let first = store.submit(at(1), small_sweep()).await.unwrap();
        let again = store.submit(at(2), small_sweep()).await.unwrap();
        assert_eq!((again.sweep, again.joined), (first.sweep, true));
        let worker = worker(store, 3).await;
        for offer in store.claim_one(at(3), claim(worker, None, 8)).await.unwrap() {
            store.commit(at(4), worker, offer.task, completion(1)).await.unwrap();
        }
        let more = vec![job(1, Some(9), 50, &[]), job(4, Some(9), 5, &[1]), job(5, None, 5, &[4])];
        let other = store.submit(at(5), sweep(101, more)).await.unwrap();
        assert!(!other.joined);
        let states = states(store, other.sweep).await;
        assert_eq!(
            states.into_iter().collect::<Vec<_>>(),
            [("job 1".into(), JobState::Succeeded), ("job 4".into(), JobState::Ready), ("job 5".into(), JobState::Blocked)]
        );
        let known = store.states(vec![key(1), key(4), key(77)]).await.unwrap();
        assert_eq!(known.into_values().collect::<Vec<_>>(), [JobState::Succeeded, JobState::Ready]);
        let done = store.submit(at(6), sweep(102, vec![job(1, Some(9), 50, &[])])).await.unwrap();
        assert_eq!(store.sweep(done.sweep).await.unwrap().unwrap().row.state, SweepState::Succeeded);
    }
}

conformance! {
    /// A plan that needs a job it lacks changes nothing.
    a_plan_with_a_gap_is_refused, store => {
        let refused = store.submit(at(1), sweep(100, vec![job(3, None, 1, &[8])])).await.unwrap_err();
        assert!(matches!(refused, StoreError::UnknownNeed { key: k, .. } if k == key(8)), "{refused}");
        assert_eq!(store.sweeps().await.unwrap(), []);
        assert_eq!(store.facts().await.unwrap(), []);
    }
}

conformance! {
    /// A write of another term changes nothing.
    another_term_is_refused, store => {
        let refused = store.submit(Stamp { term: Term(2), now: Micros(1) }, small_sweep()).await.unwrap_err();
        assert!(matches!(refused, StoreError::StaleTerm { given: Term(2), current: Term(1) }), "{refused}");
        assert_eq!(store.sweeps().await.unwrap(), []);
    }
}

conformance! {
    /// Cancelling ends what no other live sweep needs; the worker is told to stop it.
    cancelling_spares_shared_jobs, store => {
        let first = store.submit(at(1), small_sweep()).await.unwrap();
        let shared = store.submit(at(2), sweep(101, vec![job(1, Some(9), 50, &[])])).await.unwrap();
        let worker = worker(store, 3).await;
        let held = tasks(&store.claim_one(at(4), claim(worker, None, 8)).await.unwrap());
        assert_eq!(store.cancel(at(5), all(first.sweep)).await.unwrap(), 2);
        assert_eq!(store.cancel(at(6), all(first.sweep)).await.unwrap(), 0);
        let states_of = states(store, first.sweep).await;
        assert_eq!(
            states_of.into_values().collect::<Vec<_>>(),
            [JobState::Leased, JobState::Cancelled, JobState::Cancelled]
        );
        assert_eq!(store.beat(at(7), worker, running(&held)).await.unwrap(), [held[0]]);
        let refused = store.commit(at(8), worker, held[0], completion(1)).await.unwrap_err();
        assert!(matches!(refused, StoreError::StaleAttempt(_)), "{refused}");
        let row = store.find_sweep("sweep 100").await.unwrap().unwrap();
        assert_eq!((row.state, row.finished_at), (SweepState::Cancelled, Some(Micros(5))));
        assert_eq!(store.find_sweep("2").await.unwrap().unwrap().id, shared.sweep);
        assert_eq!(store.find_sweep("nothing").await.unwrap(), None);
        store.commit(at(9), worker, held[1], completion(2)).await.unwrap();
        assert_eq!(store.sweep(shared.sweep).await.unwrap().unwrap().row.state, SweepState::Succeeded);
    }
}

conformance! {
    /// Cancelling some jobs of a sweep ends it once nothing else can move.
    some_jobs_can_be_cancelled, store => {
        let submitted = store.submit(at(1), small_sweep()).await.unwrap();
        let one = Selection { sweep: submitted.sweep, jobs: vec![JobId(1)] };
        assert_eq!(store.cancel(at(2), one.clone()).await.unwrap(), 1);
        assert_eq!(store.sweep(submitted.sweep).await.unwrap().unwrap().row.state, SweepState::Running);
        let worker = worker(store, 3).await;
        let task = store.claim_one(at(4), claim(worker, None, 8)).await.unwrap()[0].task;
        store.commit(at(5), worker, task, completion(1)).await.unwrap();
        assert_eq!(store.sweep(submitted.sweep).await.unwrap().unwrap().row.state, SweepState::Failed);
        assert_eq!(store.retry(at(6), one).await.unwrap(), 1);
        let view = store.sweep(submitted.sweep).await.unwrap().unwrap();
        assert_eq!((view.row.state, view.row.finished_at), (SweepState::Running, None));
    }
}

conformance! {
    /// Retrying gives failed and cancelled jobs a fresh budget, and so does asking for them in a new sweep.
    ended_jobs_get_a_fresh_budget, store => {
        let submitted = store.submit(at(1), small_sweep()).await.unwrap();
        let worker = worker(store, 2).await;
        let held = tasks(&store.claim_one(at(3), claim(worker, None, 1)).await.unwrap());
        store.fail(at(4), worker, held[0], failed(ErrorCode::Data)).await.unwrap();
        store.cancel(at(5), all(submitted.sweep)).await.unwrap();
        let again = store.submit(at(6), small_sweep()).await.unwrap();
        assert!(!again.joined && again.sweep != submitted.sweep);
        let states_of = states(store, again.sweep).await;
        assert_eq!(states_of.into_values().collect::<Vec<_>>(), [JobState::Ready, JobState::Ready, JobState::Blocked]);
        store.cancel(at(7), all(again.sweep)).await.unwrap();
        assert_eq!(store.retry(at(8), all(again.sweep)).await.unwrap(), 3);
        assert_eq!(store.retry(at(9), all(again.sweep)).await.unwrap(), 0);
        let filter = JobFilter { sweep: again.sweep, stage: None, state: None, limit: 9 };
        let jobs = store.jobs(filter).await.unwrap().jobs;
        assert!(jobs.iter().all(|job| job.tries_left == 3 && job.error.is_none()));
        let next = store.claim_one(at(10), claim(worker, None, 1)).await.unwrap()[0].task;
        assert_eq!(next.attempt, Attempt(2));
        let missing = store.cancel(at(11), all(proto::id::SweepId(9))).await.unwrap_err();
        assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    }
}
