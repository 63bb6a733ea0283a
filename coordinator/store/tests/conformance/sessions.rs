//! Worker sessions: lost, regained, replaced, drained, and what they hold meanwhile.

use std::time::Duration;

use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use coordinator_store::model::{Beat, Held, JobFilter, Told, WorkerState};
use coordinator_store::{Store, StoreError};
use proto::error::ErrorCode;
use proto::id::{Attempt, JobId};
use proto::pipe::Task;
use proto::state::{JobState, Outcome};

use crate::common::*;

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
