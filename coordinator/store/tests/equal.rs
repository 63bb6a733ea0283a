//! Any sequence of calls has the same results on every implementation and breaks no invariant.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use common::*;
use coordinator_core::invariants::JobFacts;
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use coordinator_store::model::{Claim, Ending, JobFilter, NewSession, RecordedCheckpoint, Selection, Totals};
use coordinator_store::{Store, StoreError};
use proptest::option;
use proptest::prelude::*;
use proto::error::ErrorCode;
use proto::id::{Attempt, JobId, LaneId, SweepId, WorkerId};
use proto::pipe::Task;

/// A claim of a worker: lane, fan, free slots, further jobs.
type Ask = (i64, u32, Option<u8>, u32, u32);

#[derive(Clone, Copy, Debug)]
enum Call {
    Submit(u8),
    Cancel(i64, Option<i64>),
    Retry(i64, Option<i64>),
    Waive(i64, Option<i64>),
    Register(u8, u8, [Task; 2]),
    Claim([Option<Ask>; 3]),
    Heartbeat(i64, [Task; 3], bool),
    Progress(Task),
    Checkpoint(i64, Task, u64),
    Complete(i64, Task, u8),
    Fail(i64, Task, ErrorCode),
    Release(i64, Task),
    Expire,
    Stall,
    Promote,
    Drain(u8, bool),
    Quota(Option<u64>),
    Condemn(u8, bool),
    Absolve(i64),
}

/// The sweeps that may be asked for: they overlap.
fn planned(n: u8) -> coordinator_store::model::NewSweep {
    match n {
        0 => small_sweep(),
        1 => {
            let tail = tolerant(1, job(5, None, 1, &[4, 2]));
            sweep(101, vec![job(2, Some(9), 70, &[]), tolerant(0, job(4, Some(8), 20, &[2])), tail])
        }
        _ => {
            let tail = tolerant(2, job(7, None, 9, &[6, 1]));
            sweep(102, vec![job(6, None, 9, &[]), tail, job(1, Some(9), 50, &[])])
        }
    }
}

fn task() -> impl Strategy<Value = Task> {
    (1..8i64, 1..4u32).prop_map(|(job, attempt)| Task { job: JobId(job), attempt: Attempt(attempt) })
}

fn ask() -> impl Strategy<Value = Ask> {
    (1..4i64, 0..2u32, option::of(8..10u8), 0..4u32, prop_oneof![2 => Just(0), 1 => 1..3u32])
}

fn call() -> impl Strategy<Value = Call> {
    let worker = || 1..4i64;
    let code = proptest::sample::select(&ErrorCode::ALL[..]);
    let selection = || (1..4i64, option::weighted(0.5, 1..8i64));
    prop_oneof![
        2 => (0..3u8).prop_map(Call::Submit),
        1 => selection().prop_map(|(sweep, job)| Call::Cancel(sweep, job)),
        1 => selection().prop_map(|(sweep, job)| Call::Retry(sweep, job)),
        1 => selection().prop_map(|(sweep, job)| Call::Waive(sweep, job)),
        2 => (0..2u8, 0..2u8, [task(), task()]).prop_map(|(name, process, held)| Call::Register(name, process, held)),
        6 => (ask(), option::of(ask()), option::of(ask())).prop_map(|(a, b, c)| Call::Claim([Some(a), b, c])),
        3 => (worker(), [task(), task(), task()], any::<bool>()).prop_map(|(w, held, running)| Call::Heartbeat(w, held, running)),
        1 => task().prop_map(Call::Progress),
        1 => (worker(), task(), 0..3u64).prop_map(|(w, task, step)| Call::Checkpoint(w, task, step)),
        5 => (worker(), task(), 0..4u8).prop_map(|(w, task, n)| Call::Complete(w, task, n)),
        4 => (worker(), task(), code).prop_map(|(w, task, code)| Call::Fail(w, task, code)),
        1 => (worker(), task()).prop_map(|(w, task)| Call::Release(w, task)),
        1 => Just(Call::Expire),
        1 => Just(Call::Stall),
        1 => (0..2u8, any::<bool>()).prop_map(|(name, on)| Call::Drain(name, on)),
        1 => option::of(0..2u64).prop_map(Call::Quota),
        1 => (0..4u8, any::<bool>()).prop_map(|(n, on)| Call::Condemn(n, on)),
        1 => (0..2_000i64).prop_map(Call::Absolve),
        2 => Just(Call::Promote),
    ]
}

impl Call {
    /// The same call about an attempt that was really offered.
    fn aimed(self, (worker, task): (WorkerId, Task)) -> Self {
        match self {
            Self::Heartbeat(_, [_, b, c], running) => Self::Heartbeat(worker.0, [task, b, c], running),
            Self::Progress(_) => Self::Progress(task),
            Self::Checkpoint(_, _, step) => Self::Checkpoint(worker.0, task, step),
            Self::Complete(_, _, n) => Self::Complete(worker.0, task, n),
            Self::Fail(_, _, code) => Self::Fail(worker.0, task, code),
            Self::Release(..) => Self::Release(worker.0, task),
            Self::Register(name, process, [_, b]) => Self::Register(name, process, [task, b]),
            Self::Submit(_)
            | Self::Cancel(..)
            | Self::Retry(..)
            | Self::Waive(..)
            | Self::Claim(..)
            | Self::Expire
            | Self::Stall
            | Self::Promote
            | Self::Drain(..)
            | Self::Quota(_)
            | Self::Condemn(..)
            | Self::Absolve(_) => self,
        }
    }
}

/// What a call answers, as text; errors by their message. Attempts that it offers are added to `offered`.
async fn answer(store: &dyn Store, now: i64, call: Call, offered: &mut Vec<(WorkerId, Task)>) -> String {
    fn text<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
        match answer {
            Ok(value) => format!("{value:?}"),
            Err(
                error @ (StoreError::Database(_) | StoreError::IllegalMove { .. } | StoreError::Corrupt(_)),
            ) => {
                panic!("{error}")
            }
            Err(error) => error.to_string(),
        }
    }
    let at = at(now);
    let selection = |sweep, job: Option<i64>| Selection {
        sweep: SweepId(sweep),
        jobs: job.map(JobId).into_iter().collect(),
    };
    let names = ["a", "b"];
    match call {
        Call::Submit(n) => text(store.submit(at, planned(n)).await),
        Call::Cancel(sweep, job) => text(store.cancel(at, selection(sweep, job)).await),
        Call::Retry(sweep, job) => text(store.retry(at, selection(sweep, job)).await),
        Call::Waive(sweep, job) => text(store.waive(at, selection(sweep, job)).await),
        Call::Register(name, process, held) => {
            let (name, process) = (names[usize::from(name)], names[usize::from(process)]);
            let session = NewSession { host: name.into(), ..session(name, process) };
            text(store.register(at, session, held.to_vec()).await)
        }
        Call::Claim(asks) => {
            let claim = |(w, lane, fan, free_slots, prefetch)| Claim {
                lane: LaneId(lane),
                prefetch,
                ..claim(WorkerId(w), fan, free_slots)
            };
            let claims: Vec<_> = asks.into_iter().flatten().map(claim).collect();
            let answers = store.claim(at, claims.clone()).await.unwrap();
            for (claim, offers) in claims.iter().zip(&answers) {
                offered.extend(offers.iter().flatten().map(|offer| (claim.worker, offer.task)));
            }
            answers.into_iter().map(text).collect()
        }
        Call::Heartbeat(w, held, true) => text(store.beat(at, WorkerId(w), running(&held)).await),
        Call::Heartbeat(w, _, false) => text(store.beat(at, WorkerId(w), vec![]).await),
        Call::Progress(task) => {
            let progress = Progress { step: now as u64, total: 1000, tokens: 3, loss: Some(0.25) };
            text(store.record_progress(at, vec![(task, progress)]).await)
        }
        Call::Checkpoint(w, task, step) => {
            let checkpoint = RecordedCheckpoint { step, artifact: artifact(now as u8) };
            text(store.save(at, WorkerId(w), task, checkpoint).await)
        }
        Call::Complete(w, task, n) => text(store.commit(at, WorkerId(w), task, completion(n)).await),
        Call::Fail(w, task, code) => text(store.fail(at, WorkerId(w), task, failed(code)).await),
        Call::Release(w, task) => text(store.fail(at, WorkerId(w), task, Ending::Released).await),
        Call::Expire => text(store.expire(at, Micros(0)).await),
        Call::Stall => text(store.stall(at, Micros(0)).await),
        Call::Promote => text(store.promote(at).await),
        Call::Drain(name, on) => {
            let order = on.then_some(Duration::from_secs(1));
            text(store.drain(at, names[usize::from(name)], order).await)
        }
        Call::Quota(lanes) => text(store.set_quota(at, "me", lanes).await),
        Call::Condemn(n, true) => text(store.condemn(at, vec![digest(n)]).await),
        Call::Absolve(before) => text(store.absolve_before(at, Micros(before)).await),
        Call::Condemn(n, false) => text(store.absolve(at, vec![digest(n)]).await),
    }
}

/// Everything that the table shows.
async fn picture(store: &dyn Store, facts: &[JobFacts]) -> String {
    let mut shown = format!("{facts:?}\n{:?}\n", store.workers().await.unwrap());
    for row in store.sweeps().await.unwrap() {
        let filter = JobFilter { sweep: row.id, stage: None, state: None, limit: 100 };
        let jobs = store.jobs(filter).await.unwrap();
        shown += &format!("{:?}\n{jobs:?}\n", store.sweep(row.id).await.unwrap());
    }
    for job in facts {
        let (newest, situation) =
            (store.newest(job.id).await.unwrap(), store.situation(job.id).await.unwrap());
        shown += &format!("{newest:?}\n{situation:?}\n");
    }
    let (roots, quotas) = (store.roots().await.unwrap(), store.quotas().await.unwrap());
    let (artifacts, condemned) = (store.artifacts(None).await.unwrap(), store.condemned().await.unwrap());
    // Sequences of Postgres skip what was rolled back.
    let totals = Totals { events: 0, ..store.totals().await.unwrap() };
    shown += &format!("{totals:?}\n{roots:?}\n{artifacts:?}\n{quotas:?}\n{condemned:?}\n");
    shown
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_tables_answer_alike(
        calls in proptest::collection::vec((call(), 0..60i64, option::weighted(0.8, 0..5usize)), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tables = stores().await;
            let mut before = vec![Vec::new(); tables.len()];
            let (mut now, mut recent) = (0, Vec::new());
            for (call, passed, aim) in calls {
                now += passed;
                let aim = aim.and_then(|back| recent.iter().rev().nth(back).copied());
                let call = aim.map_or(call, |aim| call.aimed(aim));
                let (mut answers, mut offered) = (Vec::new(), Vec::new());
                for (Table { name, store, .. }, before) in tables.iter().zip(&mut before) {
                    let answered = answer(&**store, now, call, &mut offered).await;
                    *before = check(&**store, before).await;
                    answers.push((name, answered, picture(&**store, before).await));
                }
                recent.extend(offered.drain(..offered.len() / tables.len()));
                for other in &answers[1..] {
                    assert_eq!(answers[0].1, other.1, "{call:?}: {} and {}", answers[0].0, other.0);
                    assert_eq!(answers[0].2, other.2, "after {call:?}: {} and {}", answers[0].0, other.0);
                }
            }
        });
    }
}
