//! Who gets which job next, and why a job waits.

use coordinator_store::model::{Claim, Ending, Lane, NewJob, NewSession, NewSweep, Selection};
use coordinator_store::{Store, StoreError};
use proto::id::{JobId, LaneId};
use proto::state::JobState;

use crate::common::*;

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
    /// An attempt goes on from where the newest live sweep that wants its job was submitted.
    attempts_go_on_from_their_sweeps_trace, store => {
        store.submit(at(1), sweep(100, vec![job(1, None, 20, &[]), job(2, None, 10, &[])])).await.unwrap();
        let newer = store.submit(at(1), sweep(101, vec![job(1, None, 20, &[])])).await.unwrap().sweep;
        let untraced = NewSweep { trace: None, ..sweep(102, vec![job(3, None, 5, &[])]) };
        store.submit(at(1), untraced).await.unwrap();
        let worker = worker(store, 2).await;
        let mut offers = Vec::new();
        for now in 3..6 {
            offers.push(store.claim_one(at(now), claim(worker, None, 1)).await.unwrap().remove(0));
        }
        let named = |n| Some(format!("trace {n}"));
        assert_eq!([&offers[0].trace, &offers[1].trace, &offers[2].trace], [&named(101), &named(100), &None]);
        store.fail(at(7), worker, offers[0].task, Ending::Released).await.unwrap();
        store.cancel(at(8), Selection { sweep: newer, jobs: vec![] }).await.unwrap();
        let again = store.claim_one(at(9), claim(worker, None, 1)).await.unwrap().remove(0);
        assert_eq!(again.trace, named(100), "the newer sweep is over");
    }
}
