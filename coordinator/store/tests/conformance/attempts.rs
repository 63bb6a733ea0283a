//! Attempts: committed, checkpointed, failed, and what their jobs remember.

use coordinator_core::sweep::Progress;
use coordinator_store::model::{Beat, Commit, Ending, JobFilter, NewSession, RecordedCheckpoint, Told};
use coordinator_store::{Store, StoreError};
use proto::error::ErrorCode;
use proto::id::{Attempt, JobId};
use proto::pipe::Task;
use proto::state::{JobState, Outcome, SweepState};

use crate::common::*;

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
