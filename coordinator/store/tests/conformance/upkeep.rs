//! What operators keep in order: garbage and access.

use coordinator_core::time::Micros;
use coordinator_store::model::{ArtifactView, Bearer, NewToken, Newest, RecordedCheckpoint, Totals};
use coordinator_store::{Store, StoreError};
use proto::id::{Attempt, JobId};
use proto::state::{JobState, Role};

use crate::common::*;

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
    /// A mark is as old as its last setting, and old ones are lifted together.
    marks_are_lifted_by_age, store => {
        store.condemn(at(1), vec![digest(1), digest(2)]).await.unwrap();
        store.condemn(at(5), vec![digest(2), digest(3)]).await.unwrap();
        assert_eq!(store.absolve_before(at(9), Micros(1)).await.unwrap(), 0);
        assert_eq!(store.absolve_before(at(9), Micros(5)).await.unwrap(), 1);
        assert_eq!(store.condemned().await.unwrap(), [digest(2), digest(3)]);
        assert_eq!(store.absolve_before(at(9), Micros(6)).await.unwrap(), 2);
        assert!(store.condemned().await.unwrap().is_empty());
    }
}

conformance! {
    /// Every root is listed with its job and what it is to that; a sweep's are those of its jobs.
    artifacts_are_listed_with_their_jobs, store => {
        let first = store.submit(at(1), sweep(100, vec![job(1, None, 9, &[])])).await.unwrap().sweep;
        let second = store.submit(at(1), sweep(101, vec![job(2, None, 1, &[])])).await.unwrap().sweep;
        let worker = worker(store, 2).await;
        let tasks = tasks(&store.claim_one(at(3), claim(worker, None, 2)).await.unwrap());
        store.save(at(4), worker, tasks[0], RecordedCheckpoint { step: 1, artifact: artifact(8) }).await.unwrap();
        let listed = |artifacts: Vec<ArtifactView>| {
            let line = |a: ArtifactView| format!("{} {} {} {}", a.task.job, a.task.attempt, a.role, a.artifact.path);
            artifacts.into_iter().map(line).collect::<Vec<_>>()
        };
        let input = |job: u8| format!("{job} 0 input dataset manifests/200");
        let expected = ["1 1 checkpoint manifests/8".to_owned(), input(1), input(2)];
        assert_eq!(listed(store.artifacts(None).await.unwrap()), expected);
        store.commit(at(5), worker, tasks[0], completion(7)).await.unwrap();
        let newest = Newest { key: key(1), attempt: Attempt(1), state: JobState::Succeeded };
        assert_eq!(store.newest(tasks[0].job).await.unwrap(), Some(newest));
        assert_eq!(store.newest(JobId(99)).await.unwrap(), None);
        let of_first = store.artifacts(Some(first)).await.unwrap();
        assert_eq!((of_first[0].bytes, of_first[0].label.as_str()), (Some(10), "job 1"));
        assert_eq!(listed(of_first), ["1 1 report manifests/7".to_owned(), input(1)]);
        assert_eq!(listed(store.artifacts(Some(second)).await.unwrap()), [input(2)]);
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
    /// Monitors see jobs, workers, lanes and the journal's end without reading every job.
    totals_count_the_whole_table, store => {
        assert_eq!(store.totals().await.unwrap(), Totals::default());
        store.submit(at(1), small_sweep()).await.unwrap();
        store.submit(at(1), sweep(101, vec![job(1, Some(9), 50, &[]), job(4, None, 10, &[])])).await.unwrap();
        let worker = worker(store, 2).await;
        let offers = store.claim_one(at(3), claim(worker, Some(9), 8)).await.unwrap();
        assert_eq!(offers.len(), 2, "two jobs in one lane");
        store.commit(at(4), worker, offers[0].task, completion(1)).await.unwrap();
        let totals = store.totals().await.unwrap();
        let jobs = |state| totals.jobs.get(&state).copied();
        assert_eq!(totals.jobs.values().sum::<u64>(), 5, "the job that both sweeps want counts twice");
        assert_eq!((jobs(JobState::Ready), jobs(JobState::Blocked), jobs(JobState::Running)), (Some(1), Some(1), None));
        assert_eq!((totals.workers, totals.lanes, totals.busy), (1, 1, 1));
        let newest = store.events(0, u32::MAX).await.unwrap().last().unwrap().seq;
        assert_eq!(totals.events, newest as u64);
        store.expire(at(1000), Micros(1)).await.unwrap();
        let totals = store.totals().await.unwrap();
        assert_eq!((totals.workers, totals.lanes, totals.busy), (0, 0, 0), "silent workers and their lanes are gone");
    }
}
