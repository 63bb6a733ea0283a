//! What every job table must do. Each case runs on all implementations.

mod common;

use std::time::Duration;

use common::*;
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use coordinator_store::model::{
    Bearer, Beat, Claim, Commit, Ending, Held, JobFilter, Lane, NewJob, NewSession, NewSweep, NewToken,
    RecordedCheckpoint, Selection, Stamp, Told, WorkerState,
};
use coordinator_store::{Store, StoreError};
use proto::error::ErrorCode;
use proto::id::{Attempt, JobId, LaneId, Term};
use proto::pipe::Task;
use proto::state::{JobState, Outcome, Role, SweepState};

/// Runs a case on every implementation and checks the invariants at its end.
macro_rules! conformance {
    ($(#[$doc:meta])* $name:ident, $store:ident => $body:block) => {
        $(#[$doc])*
        #[tokio::test]
        async fn $name() {
            for table in stores().await {
                println!("{}", table.name);
                let $store: &dyn Store = &*table.store;
                $body
                check($store, &[]).await;
            }
        }
    };
}

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
    /// The same commit again is fine, another one gets the winner's, and a commit of an older attempt is refused.
    one_commit_wins, store => {
        store.submit(at(1), sweep(100, vec![job(1, None, 1, &[]), job(2, None, 1, &[])])).await.unwrap();
        let worker = worker(store, 2).await;
        let task = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap()[0].task;
        assert_eq!(store.commit(at(4), worker, task, completion(1)).await.unwrap(), artifact(1));
        assert_eq!(store.commit(at(5), worker, task, completion(1)).await.unwrap(), artifact(1));
        assert_eq!(store.commit(at(5), worker, task, completion(2)).await.unwrap(), artifact(1));
        let task = store.claim_one(at(6), claim(worker, None, 1)).await.unwrap()[0].task;
        store.fail(at(7), worker, task, Ending::Released).await.unwrap();
        let newer = store.claim_one(at(8), claim(worker, None, 1)).await.unwrap()[0].task;
        assert_eq!(newer, Task { job: task.job, attempt: Attempt(2) });
        let stale = store.commit(at(9), worker, task, completion(3)).await.unwrap_err();
        assert!(matches!(stale, StoreError::StaleAttempt(t) if t == task), "{stale}");
        let checkpoint = RecordedCheckpoint { step: 1, artifact: artifact(9) };
        let stale = store.save(at(9), worker, task, checkpoint).await.unwrap_err();
        assert!(matches!(stale, StoreError::StaleAttempt(_)), "{stale}");
        store.commit(at(10), worker, newer, completion(3)).await.unwrap();
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
    /// After its lease a worker's jobs go to others; what it still sends is refused.
    silent_workers_lose_their_jobs, store => {
        let submitted = store.submit(at(1), sweep(100, vec![job(1, None, 1, &[])])).await.unwrap();
        let lost = worker(store, 2).await;
        let old = store.claim_one(at(3), claim(lost, None, 1)).await.unwrap()[0].task;
        store.beat(at(10), lost, running(&[old])).await.unwrap();
        assert_eq!(store.expire(at(309), Micros(0)).await.unwrap(), 0, "the lease still holds");
        assert_eq!(store.expire(at(400), Micros(101)).await.unwrap(), 0, "warm-up");
        assert_eq!(store.expire(at(401), Micros(101)).await.unwrap(), 1);
        assert_eq!(store.expire(at(402), Micros(101)).await.unwrap(), 0);
        let workers = store.workers().await.unwrap();
        assert_eq!((workers[0].state, workers[0].held), (WorkerState::Lost, 0));
        let refused = store.beat(at(403), lost, running(&[old])).await.unwrap_err();
        assert!(matches!(refused, StoreError::SessionLost(w) if w == lost), "{refused}");
        let refused = store.commit(at(403), lost, old, completion(1)).await.unwrap_err();
        assert!(matches!(refused, StoreError::SessionLost(_)), "{refused}");
        let other = store.register(at(404), session("other", "1"), vec![]).await.unwrap().worker;
        let new = store.claim_one(at(405), claim(other, None, 1)).await.unwrap()[0].task;
        assert_eq!(new.attempt, Attempt(2));
        let back = store.register(at(406), session("w", "1"), vec![old]).await.unwrap();
        assert_eq!((back.worker, back.keep, back.fenced), (lost, vec![], vec![old]));
        let refused = store.commit(at(407), lost, old, completion(1)).await.unwrap_err();
        assert!(matches!(refused, StoreError::StaleAttempt(_)), "{refused}");
        store.commit(at(408), other, new, completion(2)).await.unwrap();
        assert_eq!(store.commit(at(409), lost, old, completion(1)).await.unwrap(), artifact(2), "the winner's");
        let filter = JobFilter { sweep: submitted.sweep, stage: None, state: None, limit: 1 };
        assert_eq!(store.jobs(filter).await.unwrap().jobs[0].tries_left, 3, "an expiry costs no try");
    }
}

conformance! {
    /// A worker that comes back before anybody took its jobs keeps them under the same number.
    expired_attempts_are_revived, store => {
        store.submit(at(1), sweep(100, vec![job(1, None, 1, &[]), job(2, None, 1, &[])])).await.unwrap();
        let worker = worker(store, 2).await;
        let first = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap()[0].task;
        let second = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap()[0].task;
        assert_eq!(store.expire(at(900), Micros(0)).await.unwrap(), 2);
        let unknown = Task { job: JobId(99), attempt: Attempt(1) };
        let back = store.register(at(901), session("w", "1"), vec![first, unknown]).await.unwrap();
        assert_eq!((back.keep, back.fenced), (vec![first], vec![unknown]));
        store.commit(at(902), worker, first, completion(1)).await.unwrap();
        let again = store.claim_one(at(903), claim(worker, None, 1)).await.unwrap()[0].task;
        assert_eq!(again, Task { job: second.job, attempt: Attempt(2) });
        let renewed = store.register(at(904), session("w", "1"), vec![again]).await.unwrap();
        assert_eq!(renewed.keep, [again], "registering again keeps what is held");
        let empty = store.register(at(905), session("w", "1"), vec![]).await.unwrap();
        assert_eq!(empty.keep, []);
        assert_eq!(store.workers().await.unwrap()[0].held, 0, "what the worker does not have is ready again");
    }
}

conformance! {
    /// A new process of a worker takes over at once, and the old one may not return.
    a_new_incarnation_replaces_the_old, store => {
        store.submit(at(1), sweep(100, vec![job(1, None, 1, &[])])).await.unwrap();
        let old = worker(store, 2).await;
        let task = store.claim_one(at(3), claim(old, None, 1)).await.unwrap()[0].task;
        let new = store.register(at(4), session("w", "2"), vec![task]).await.unwrap();
        assert_ne!(new.worker, old);
        assert_eq!(new.fenced, [task], "another process's attempt");
        let refused = store.register(at(5), session("w", "1"), vec![task]).await.unwrap_err();
        assert!(matches!(refused, StoreError::Superseded { .. }), "{refused}");
        let refused = store.beat(at(5), old, vec![]).await.unwrap_err();
        assert!(matches!(refused, StoreError::SessionLost(_)), "{refused}");
        assert_eq!(store.workers().await.unwrap().len(), 1);
        let next = store.claim_one(at(6), claim(new.worker, None, 1)).await.unwrap()[0].task;
        assert_eq!(next.attempt, Attempt(2));
    }
}

conformance! {
    /// An offer that never arrived is taken back; one that waits in the worker is not.
    lost_offers_return, store => {
        store.submit(at(1), sweep(100, vec![job(1, None, 2, &[]), job(2, None, 1, &[])])).await.unwrap();
        let worker = worker(store, 2).await;
        let lost = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap()[0].task;
        let waits = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap()[0].task;
        let held = vec![Held { task: waits, running: false }];
        store.beat(at(102), worker, held.clone()).await.unwrap();
        assert_eq!(store.workers().await.unwrap()[0].held, 2);
        store.beat(at(103), worker, held).await.unwrap();
        assert_eq!(store.workers().await.unwrap()[0].held, 1);
        let fenced = store.beat(at(104), worker, running(&[waits, lost])).await.unwrap();
        assert_eq!(fenced, [lost], "it arrived after all, too late");
        let facts = store.facts().await.unwrap();
        assert_eq!(facts[0].outcomes[&Attempt(1)], Some(Outcome::Released));
    }
}

conformance! {
    /// Failures wait, spend the budget and end the job; what waits for it never starts, and the sweep fails.
    failures_spend_the_budget, store => {
        let submitted = store.submit(at(1), sweep(100, vec![job(1, None, 1, &[]), job(2, None, 1, &[1])])).await.unwrap();
        let worker = worker(store, 2).await;
        let mut now = 3;
        for (tries_left, wait) in [(2, 10), (1, 20)] {
            let task = store.claim_one(at(now), claim(worker, None, 1)).await.unwrap()[0].task;
            store.fail(at(now), worker, task, failed(ErrorCode::Storage)).await.unwrap();
            store.fail(at(now), worker, task, failed(ErrorCode::Storage)).await.unwrap();
            assert_eq!(store.claim_one(at(now), claim(worker, None, 1)).await.unwrap(), [], "it waits");
            assert_eq!(store.promote(at(now + wait - 1)).await.unwrap(), 0);
            now += wait;
            assert_eq!(store.promote(at(now)).await.unwrap(), 1);
            let filter = JobFilter { sweep: submitted.sweep, stage: None, state: Some(JobState::Ready), limit: 9 };
            let page = store.jobs(filter).await.unwrap();
            assert_eq!((page.matching, page.jobs[0].tries_left), (1, tries_left));
            assert_eq!(page.jobs[0].error.as_deref(), Some("it was storage"));
        }
        let task = store.claim_one(at(now), claim(worker, None, 1)).await.unwrap()[0].task;
        store.fail(at(now), worker, task, failed(ErrorCode::Storage)).await.unwrap();
        let view = store.sweep(submitted.sweep).await.unwrap().unwrap();
        assert_eq!(view.row.state, SweepState::Failed);
        assert_eq!((view.failures[0].code, view.failures[0].label.as_str()), (Some(ErrorCode::Storage), "job 1"));
        assert_eq!(states(store, submitted.sweep).await["job 2"], JobState::Blocked);
        let missing = store.fail(at(now), worker, Task { job: JobId(99), attempt: Attempt(1) }, Ending::Released).await;
        assert!(matches!(missing, Err(StoreError::StaleAttempt(_))));
    }
}

conformance! {
    /// When a process dies with several jobs, none of them pays, and the group halves until the culprit stands alone and pays.
    a_dead_process_is_halved, store => {
        let adapters = (1..=4).map(|n| job(n, Some(9), 10, &[])).collect();
        let submitted = store.submit(at(1), sweep(100, adapters)).await.unwrap();
        let worker = worker(store, 2).await;
        let mut sizes = Vec::new();
        loop {
            let now = at(10 + sizes.len() as i64);
            let group = store.claim_one(now, claim(worker, None, 8)).await.unwrap();
            sizes.push(group.len());
            store.beat(now, worker, running(&tasks(&group))).await.unwrap();
            for offer in &group {
                store.fail(now, worker, offer.task, failed(ErrorCode::RunnerDied)).await.unwrap();
            }
            if group.len() == 1 {
                break;
            }
        }
        assert_eq!(sizes, [4, 2, 1]);
        let filter = JobFilter { sweep: submitted.sweep, stage: None, state: None, limit: 9 };
        let jobs = store.jobs(filter).await.unwrap().jobs;
        let tries: Vec<_> = jobs.iter().map(|job| job.tries_left).collect();
        assert_eq!(tries, [2, 3, 3, 3]);
        let facts = store.facts().await.unwrap();
        assert_eq!(facts[1].outcomes[&Attempt(1)], Some(Outcome::Collateral));
        assert_eq!(facts[0].outcomes[&Attempt(3)], Some(Outcome::Failed));
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

conformance! {
    /// A new attempt resumes from the highest recorded step; progress is shown and ends with its attempt.
    checkpoints_and_progress_are_kept, store => {
        let submitted = store.submit(at(1), sweep(100, vec![job(1, Some(9), 10, &[])])).await.unwrap();
        let worker = worker(store, 2).await;
        let offer = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap().remove(0);
        assert_eq!(offer.checkpoint, None);
        for step in [20, 10, 20] {
            let checkpoint = RecordedCheckpoint { step, artifact: artifact(step as u8) };
            store.save(at(4), worker, offer.task, checkpoint).await.unwrap();
        }
        let half = Progress { step: 5, total: 10, tokens: 50, loss: Some(0.5) };
        store.record_progress(at(4), vec![(offer.task, half)]).await.unwrap();
        let view = store.sweep(submitted.sweep).await.unwrap().unwrap();
        assert_eq!((view.held[0].progress, view.held[0].tokens), (half, 10));
        store.fail(at(5), worker, offer.task, Ending::Released).await.unwrap();
        store.record_progress(at(6), vec![(offer.task, Progress::default())]).await.unwrap();
        let filter = JobFilter { sweep: submitted.sweep, stage: None, state: None, limit: 9 };
        assert_eq!(store.jobs(filter).await.unwrap().jobs[0].progress, half);
        let offer = store.claim_one(at(7), claim(worker, None, 1)).await.unwrap().remove(0);
        assert_eq!(offer.checkpoint, Some(RecordedCheckpoint { step: 20, artifact: artifact(20) }));
        assert_eq!((offer.spec.as_str(), offer.fan_limits.as_deref()), ("{\"n\": 1}", Some("{\"slots\": 4}")));
    }
}

conformance! {
    /// A lane that runs a fan is refilled from that fan, up to its slots; a higher priority goes first.
    lanes_are_refilled_from_their_fan, store => {
        let jobs = vec![
            job(1, Some(8), 10, &[]), job(2, Some(9), 30, &[]), job(3, Some(8), 20, &[]), job(4, None, 5, &[]),
        ];
        store.submit(at(1), sweep(100, jobs)).await.unwrap();
        let urgent = coordinator_store::model::NewSweep { priority: 5, ..sweep(101, vec![job(4, None, 5, &[])]) };
        store.submit(at(2), urgent).await.unwrap();
        let worker = worker(store, 2).await;
        let label = |offers: Vec<coordinator_store::model::Offer>| {
            offers.into_iter().map(|o| o.label).collect::<Vec<_>>()
        };
        assert_eq!(label(store.claim_one(at(3), claim(worker, Some(8), 1)).await.unwrap()), ["job 3"]);
        assert_eq!(label(store.claim_one(at(3), claim(worker, Some(8), 0)).await.unwrap()), [""; 0]);
        assert_eq!(label(store.claim_one(at(3), claim(worker, None, 4)).await.unwrap()), ["job 4"], "alone, and first");
        assert_eq!(label(store.claim_one(at(3), claim(worker, None, 4)).await.unwrap()), ["job 2"]);
        assert_eq!(label(store.claim_one(at(3), claim(worker, Some(9), 4)).await.unwrap()), [""; 0]);
        assert_eq!(label(store.claim_one(at(3), claim(worker, Some(8), 4)).await.unwrap()), ["job 1"]);
        let nobody = store.claim_one(at(3), claim(proto::id::WorkerId(77), None, 1)).await.unwrap_err();
        assert!(matches!(nobody, StoreError::SessionLost(_)), "{nobody}");
    }
}

conformance! {
    /// Memory that ran out halves the passes at no cost, a few times; a loss that is not finite goes back behind its newest checkpoint.
    failures_are_remembered_by_their_kind, store => {
        store.submit(at(1), sweep(100, vec![job(1, None, 1, &[])])).await.unwrap();
        let worker = worker(store, 2).await;
        let mut now = 10;
        let mut next = async |code: Option<ErrorCode>| {
            let offer = store.claim_one(at(now), claim(worker, None, 1)).await.unwrap().remove(0);
            if let Some(code) = code {
                store.fail(at(now), worker, offer.task, failed(code)).await.unwrap();
                now += 100;
                store.promote(at(now)).await.unwrap();
            }
            offer
        };
        assert_eq!(next(Some(ErrorCode::OutOfMemory)).await.halvings, 0);
        assert_eq!(next(Some(ErrorCode::OutOfMemory)).await.halvings, 1, "the second time costs a try");
        let offer = next(None).await;
        assert_eq!(offer.halvings, 1);
        for step in [10, 20] {
            store.save(at(now), worker, offer.task, RecordedCheckpoint { step, artifact: artifact(step as u8) }).await.unwrap();
        }
        store.fail(at(now), worker, offer.task, failed(ErrorCode::NonFinite)).await.unwrap();
        now += 100;
        store.promote(at(now)).await.unwrap();
        let offer = store.claim_one(at(now), claim(worker, None, 1)).await.unwrap().remove(0);
        assert_eq!(offer.checkpoint.unwrap().step, 10);
        store.fail(at(now), worker, offer.task, failed(ErrorCode::NonFinite)).await.unwrap();
        assert_eq!(store.facts().await.unwrap()[0].state, JobState::Failed, "three tries are spent");
    }
}

conformance! {
    /// A job that failed by a fault that may be the machine's goes to another one; if it succeeds there, the machine is blamed.
    a_fault_is_tried_on_another_machine, store => {
        let jobs = (1..=2).map(|n| job(n, None, u64::from(10 - n), &[])).collect();
        store.submit(at(1), sweep(100, jobs)).await.unwrap();
        let on = |host: &str| NewSession { host: host.into(), ..session(host, "1") };
        let bad = store.register(at(2), on("bad"), vec![]).await.unwrap().worker;
        let mut now = 3;
        let alone = store.claim_one(at(now), claim(bad, None, 1)).await.unwrap().remove(0);
        store.fail(at(now), bad, alone.task, failed(ErrorCode::RunnerDied)).await.unwrap();
        now += 100;
        store.promote(at(now)).await.unwrap();
        let again = store.claim_one(at(now), claim(bad, None, 1)).await.unwrap().remove(0);
        assert_eq!(again.label, "job 1", "there is no other machine");
        store.fail(at(now), bad, again.task, failed(ErrorCode::RunnerDied)).await.unwrap();
        now += 100;
        store.promote(at(now)).await.unwrap();
        let good = store.register(at(now), on("good"), vec![]).await.unwrap().worker;
        let other = store.claim_one(at(now), claim(bad, None, 1)).await.unwrap().remove(0);
        assert_eq!(other.label, "job 2");
        store.fail(at(now), bad, other.task, failed(ErrorCode::Internal)).await.unwrap();
        now += 100;
        store.promote(at(now)).await.unwrap();
        assert_eq!(store.claim_one(at(now), claim(bad, None, 1)).await.unwrap(), [], "both wait for another machine");
        let waits = store.situation(again.task.job).await.unwrap().unwrap();
        assert_eq!((waits.avoid.as_deref(), waits.fleet.hosts, waits.tries_left), (Some("bad"), 2, 1));
        for n in 1..=2 {
            assert!(!store.workers().await.unwrap()[0].draining, "blamed less than twice");
            let offer = store.claim_one(at(now), claim(good, None, 1)).await.unwrap().remove(0);
            store.commit(at(now), good, offer.task, completion(n)).await.unwrap();
        }
        let workers = store.workers().await.unwrap();
        assert_eq!((workers[0].name.as_str(), workers[0].draining), ("bad", true));
        assert!(store.drain(at(now), "bad", None).await.unwrap());
        assert!(!store.workers().await.unwrap()[0].draining, "forgiven");
    }
}

conformance! {
    /// A worker that is drained, or on its way out, gets no jobs; its heartbeats are told so until that is called off.
    a_drained_worker_gets_no_jobs, store => {
        store.submit(at(1), sweep(100, vec![job(1, None, 2, &[]), job(2, None, 1, &[])])).await.unwrap();
        let worker = worker(store, 2).await;
        assert!(!store.drain(at(3), "nobody", None).await.unwrap());
        assert!(store.drain(at(3), "w", Some(Duration::from_secs(60))).await.unwrap());
        assert_eq!(store.claim_one(at(4), claim(worker, None, 1)).await.unwrap(), []);
        let beat = |leaving| vec![Beat { worker, held: vec![], leaving }];
        let told = store.heartbeat(at(5), beat(false)).await.unwrap().remove(0).unwrap();
        assert_eq!(told.drain, Some(Duration::from_secs(60)));
        store.register(at(6), session("w", "1"), vec![]).await.unwrap();
        assert_eq!(store.claim_one(at(6), claim(worker, None, 1)).await.unwrap(), [], "an order outlives a session");
        store.drain(at(7), "w", None).await.unwrap();
        assert_eq!(store.heartbeat(at(7), beat(true)).await.unwrap().remove(0).unwrap(), Told::default());
        assert_eq!(store.claim_one(at(8), claim(worker, None, 1)).await.unwrap(), [], "it leaves by itself");
        assert_eq!(store.situation(JobId(1)).await.unwrap().unwrap().fleet.lanes, 0);
        store.heartbeat(at(9), beat(false)).await.unwrap();
        assert_eq!(store.claim_one(at(9), claim(worker, None, 1)).await.unwrap().len(), 1);
    }
}

conformance! {
    /// A running job that shows no progress is taken back and spends a try; one that goes on is not.
    stalled_jobs_are_taken_back, store => {
        store.submit(at(1), sweep(100, vec![job(1, None, 2, &[]), job(2, None, 1, &[])])).await.unwrap();
        let worker = worker(store, 2).await;
        let stalls = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap()[0].task;
        let goes_on = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap()[0].task;
        store.beat(at(4), worker, running(&[stalls, goes_on])).await.unwrap();
        let progress = |step| Progress { step, ..Progress::default() };
        store.record_progress(at(250), vec![(stalls, progress(0)), (goes_on, progress(7))]).await.unwrap();
        assert_eq!(store.stall(at(502), Micros(0)).await.unwrap(), 0);
        assert_eq!(store.stall(at(600), Micros(450)).await.unwrap(), 0, "nobody looked for long enough");
        assert_eq!(store.stall(at(600), Micros(0)).await.unwrap(), 1);
        let facts = store.facts().await.unwrap();
        assert_eq!((facts[0].state, facts[1].state), (JobState::Backoff, JobState::Running));
        let situation = store.situation(stalls.job).await.unwrap().unwrap();
        assert_eq!((situation.tries_left, situation.error.unwrap().0), (2, ErrorCode::Stalled));
        assert_eq!(store.situation(goes_on.job).await.unwrap().unwrap().holder.unwrap().progress_at, Micros(250));
    }
}

conformance! {
    /// An owner with all his lanes waits, others do not; the first tools of their categories go first.
    owners_keep_to_their_lanes, store => {
        let of = |n: u8, owner: &str, jobs| NewSweep { owner: owner.into(), ..sweep(n, jobs) };
        store.submit(at(1), of(100, "a", vec![job(1, None, 9, &[]), job(2, None, 8, &[])])).await.unwrap();
        let early = NewJob { coverage: true, ..job(4, None, 1, &[]) };
        store.submit(at(2), of(101, "b", vec![job(3, None, 2, &[]), early])).await.unwrap();
        let worker = worker(store, 3).await;
        store.set_quota(at(4), "a", Some(1)).await.unwrap();
        let mut labels = Vec::new();
        for lane in 0..4 {
            let wanted = Claim { lane: LaneId(lane), ..claim(worker, None, 1) };
            labels.extend(store.claim_one(at(5), wanted).await.unwrap().into_iter().map(|offer| offer.label));
        }
        assert_eq!(labels, ["job 4", "job 1", "job 3"]);
        let quotas = store.quotas().await.unwrap();
        assert_eq!((quotas[0].owner.as_str(), quotas[0].max_lanes, quotas[0].used), ("a", 1, 1));
        assert_eq!(store.situation(JobId(2)).await.unwrap().unwrap().quota.unwrap().used, 1);
        let same = Claim { lane: LaneId(1), ..claim(worker, None, 1) };
        assert_eq!(store.claim_one(at(6), same).await.unwrap()[0].label, "job 2", "his own lane holds it ready");
        store.set_quota(at(7), "a", None).await.unwrap();
        assert_eq!(store.quotas().await.unwrap(), []);
    }
}

conformance! {
    /// A worker holds jobs ready for a lane only of what the other lanes could not start at once.
    jobs_are_held_ready_while_others_have_work, store => {
        let jobs = (1..=5).map(|n| job(n, Some(9), 10, &[])).collect();
        store.submit(at(1), sweep(100, jobs)).await.unwrap();
        let worker = worker(store, 2).await;
        let lanes = (0..2).map(|id| Lane { id: LaneId(id), device: "cpu".into() }).collect();
        store.register(at(2), NewSession { lanes, ..session("x", "1") }, vec![]).await.unwrap();
        let wanted = Claim { prefetch: 4, ..claim(worker, None, 2) };
        assert_eq!(store.claim_one(at(3), wanted).await.unwrap().len(), 3, "two to start, one ready, two for two lanes");
    }
}

conformance! {
    /// What is about to be deleted cannot be committed; what the table refers to is told.
    condemned_objects_are_not_committed, store => {
        store.submit(at(1), sweep(100, vec![job(1, None, 1, &[])])).await.unwrap();
        let worker = worker(store, 2).await;
        let task = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap()[0].task;
        store.condemn(at(4), vec![digest(7), digest(8)]).await.unwrap();
        store.condemn(at(4), vec![digest(7)]).await.unwrap();
        let refused = store.commit(at(5), worker, task, completion(7)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Condemned(d) if d == digest(7)), "{refused}");
        let checkpoint = |n| RecordedCheckpoint { step: 1, artifact: artifact(n) };
        let refused = store.save(at(5), worker, task, checkpoint(8)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Condemned(_)), "{refused}");
        store.save(at(6), worker, task, checkpoint(9)).await.unwrap();
        assert_eq!(store.roots().await.unwrap(), [artifact(200), artifact(9)]);
        store.absolve(at(7), vec![digest(7)]).await.unwrap();
        assert_eq!(store.condemned().await.unwrap(), [digest(8)]);
        store.commit(at(8), worker, task, completion(7)).await.unwrap();
        assert_eq!(store.roots().await.unwrap(), [artifact(200), artifact(7)], "nobody resumes a job that is done");
    }
}

conformance! {
    /// Tokens are found by hash until they are revoked, and a name is given once.
    tokens_open_until_revoked, store => {
        let token = |name: &str, n| NewToken { name: name.into(), role: Role::Viewer, hash: digest(n) };
        store.create_token(at(1), token("ann", 1)).await.unwrap();
        let taken = store.create_token(at(2), token("ann", 2)).await.unwrap_err();
        assert!(matches!(taken, StoreError::Taken(_)), "{taken}");
        let ann = Bearer { name: "ann".into(), role: Role::Viewer };
        assert_eq!(store.bearer(digest(1)).await.unwrap(), Some(ann));
        assert_eq!(store.bearer(digest(2)).await.unwrap(), None);
        assert!(store.revoke_token(at(3), "ann").await.unwrap());
        assert!(!store.revoke_token(at(4), "ann").await.unwrap());
        assert_eq!(store.bearer(digest(1)).await.unwrap(), None);
        assert_eq!(store.tokens().await.unwrap()[0].revoked_at, Some(Micros(3)));
        assert!(store.create_token(at(5), token("ann", 3)).await.is_err());
    }
}

conformance! {
    /// A job that waits for others names them.
    a_blocked_job_names_what_it_needs, store => {
        store.submit(at(1), small_sweep()).await.unwrap();
        let blocked = store.situation(JobId(3)).await.unwrap().unwrap();
        let needs = vec![("job 1".to_owned(), JobState::Ready), ("job 2".to_owned(), JobState::Ready)];
        assert_eq!((blocked.state, blocked.pending_deps, blocked.needs), (JobState::Blocked, 2, needs));
        assert_eq!(store.situation(JobId(1)).await.unwrap().unwrap().ahead, 1, "job 2 is longer");
        assert_eq!(store.situation(JobId(9)).await.unwrap(), None);
    }
}

conformance! {
    /// Writes that share a transaction are answered one by one: one that is refused hinders no other.
    a_batch_is_answered_one_by_one, store => {
        let submitted = store.submit(at(1), small_sweep()).await.unwrap();
        let worker = worker(store, 2).await;
        let nobody = proto::id::WorkerId(77);
        let claims = vec![claim(nobody, None, 1), claim(worker, None, 8), claim(worker, None, 8)];
        let mut offers = store.claim(at(3), claims).await.unwrap();
        assert!(matches!(offers.remove(0), Err(StoreError::SessionLost(w)) if w == nobody));
        let offers = offers.remove(0).unwrap();
        assert_eq!(offers.len(), 2);
        let beat = |worker| Beat { worker, held: running(&tasks(&offers)), leaving: false };
        let told = store.heartbeat(at(4), vec![beat(nobody), beat(worker)]).await.unwrap();
        assert!(matches!(told[0], Err(StoreError::SessionLost(_))));
        assert_eq!(told[1].as_ref().unwrap(), &Told::default());
        let commit = |worker, task, n| Commit { worker, task, completion: completion(n) };
        let (first, second) = (offers[0].task, offers[1].task);
        let stale = Task { job: second.job, attempt: Attempt(9) };
        let commits =
            vec![commit(worker, first, 1), commit(worker, first, 2), commit(worker, stale, 3), commit(worker, second, 4)];
        let answers = store.complete(at(5), commits).await.unwrap();
        assert_eq!((answers[0].as_ref().unwrap(), answers[1].as_ref().unwrap()), (&artifact(1), &artifact(1)));
        assert!(matches!(answers[2], Err(StoreError::StaleAttempt(t)) if t == stale));
        assert_eq!(answers[3].as_ref().unwrap(), &artifact(4));
        assert_eq!(states(store, submitted.sweep).await["job 3"], JobState::Ready);
    }
}
