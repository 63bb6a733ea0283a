//! A table, its workers and the time, and every step that can come next. A step is taken on a copy, so that a search can go back.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use coordinator_core::invariants::JobFacts;
use coordinator_core::time::Micros;
use coordinator_store::model::{Artifact, Held, NewSession, NewSweep, Selection, WorkerState};
use coordinator_store::{MemoryStore, Store, StoreError};
use futures::FutureExt;
use proto::error::ErrorCode;
use proto::id::{Attempt, JobId, SweepId, WorkerId};
use proto::pipe::Task;
use proto::state::{JobState, Outcome};

use crate::common::*;

/// What a tick of the clock takes: as long as a lease, longer than an offer may stay unheard of or than any backoff.
const TICK: i64 = 300;
/// Ages beyond this make no difference: everything is over by then. A world begins so late that its coordinator has warmed up.
const OLD: i64 = 2 * TICK;
/// Rounds of a world without faults after which every job must have ended.
const ROUNDS: usize = 40;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A worker registers, with all that it was offered or with nothing.
    Register(usize, bool),
    /// A worker's process starts anew.
    Restart(usize),
    /// A worker's lane asks for jobs.
    Claim(usize),
    /// A sign of life: all that the worker was offered runs, waits, or never arrived.
    Beat(usize, Option<bool>),
    /// A session commits an attempt, its own or not, living or not.
    Complete(WorkerId, Task),
    /// A session ends an attempt.
    Fail(WorkerId, Task, ErrorCode),
    /// A session gives an attempt back.
    Release(WorkerId, Task),
    /// An operator cancels a job.
    Cancel(JobId),
    /// An operator wants ended jobs again.
    Retry,
    /// The loops' passes.
    Expire,
    Stall,
    Promote,
    /// Time passes.
    Tick,
}

/// How far a search goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// Attempts of one job.
    pub(crate) attempts: u32,
    /// Further processes of workers.
    pub(crate) restarts: usize,
    /// How an attempt fails.
    pub(crate) codes: &'static [ErrorCode],
    /// Whether operators cancel and retry.
    pub(crate) operators: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    store: MemoryStore,
    now: i64,
    sweep: SweepId,
    facts: Vec<JobFacts>,
    tries: BTreeMap<JobId, u32>,
    /// By worker: its process, and the session that it has, if it ever registered.
    workers: Vec<(usize, Option<WorkerId>)>,
    restarts: usize,
    /// Every attempt ever offered, and to whom.
    offered: BTreeMap<Task, WorkerId>,
    /// What was committed.
    committed: BTreeMap<JobId, Artifact>,
    /// How it came here.
    path: Vec<Step>,
}

impl World {
    /// A sweep that nobody works on yet.
    pub(crate) fn new(sweep: NewSweep, workers: usize) -> Self {
        let store = MemoryStore::new(policy());
        let submitted = done(store.submit(at(OLD), sweep)).unwrap();
        let mut world = Self {
            store,
            now: OLD,
            sweep: submitted.sweep,
            facts: Vec::new(),
            tries: BTreeMap::new(),
            workers: vec![(0, None); workers],
            restarts: 0,
            offered: BTreeMap::new(),
            committed: BTreeMap::new(),
            path: Vec::new(),
        };
        world.look();
        world
    }

    fn fork(&self) -> Self {
        Self {
            store: self.store.fork(),
            facts: self.facts.clone(),
            tries: self.tries.clone(),
            workers: self.workers.clone(),
            offered: self.offered.clone(),
            committed: self.committed.clone(),
            path: self.path.clone(),
            ..*self
        }
    }

    /// Every step that can come next.
    pub(crate) fn steps(&self, scope: &Scope) -> Vec<Step> {
        let mut steps = vec![Step::Tick, Step::Expire, Step::Stall, Step::Promote];
        let may_claim =
            self.facts.iter().all(|job| job.attempt.0 < scope.attempts || job.state.is_terminal());
        for (worker, (_, session)) in self.workers.iter().enumerate() {
            steps.extend([Step::Register(worker, false), Step::Register(worker, true)]);
            if self.restarts < scope.restarts {
                steps.push(Step::Restart(worker));
            }
            if session.is_some() {
                steps.extend([None, Some(false), Some(true)].map(|running| Step::Beat(worker, running)));
                steps.extend(may_claim.then_some(Step::Claim(worker)));
            }
        }
        for task in self.offered.keys().copied() {
            for session in self.workers.iter().filter_map(|(_, session)| *session) {
                steps.extend([Step::Complete(session, task), Step::Release(session, task)]);
                steps.extend(scope.codes.iter().map(|code| Step::Fail(session, task, *code)));
            }
        }
        if scope.operators {
            steps.extend(self.facts.iter().map(|job| Step::Cancel(job.id)).chain([Step::Retry]));
        }
        steps
    }

    /// The world after a step, every rule checked.
    pub(crate) fn after(&self, step: Step) -> Self {
        let mut next = self.fork();
        next.path.push(step);
        let shown = Shown(next.path.clone());
        next.take(step);
        next.look();
        next.compare(self, step);
        drop(shown);
        next
    }

    fn take(&mut self, step: Step) {
        let at = at(self.now);
        let store = &self.store;
        match step {
            Step::Register(worker, with_all) => {
                let (process, _) = self.workers[worker];
                let session = self.session(worker, process);
                let held = if with_all { self.offered_to(worker) } else { Vec::new() };
                match done(store.register(at, session, held)) {
                    Ok(registered) => {
                        let known = self.workers[worker].1;
                        assert!(known.is_none_or(|known| known == registered.worker), "another session");
                        self.workers[worker].1 = Some(registered.worker);
                    }
                    Err(StoreError::Superseded { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Restart(worker) => {
                self.restarts += 1;
                self.workers[worker] = (self.restarts, None);
            }
            Step::Claim(worker) => {
                let session = self.workers[worker].1.unwrap();
                let Some(offers) = allowed(done(store.claim_one(at, claim(session, None, 2)))) else {
                    return;
                };
                for offer in offers {
                    let before = self.job(offer.task.job);
                    assert_eq!(before.state, JobState::Ready);
                    assert_eq!(offer.task.attempt, Attempt(before.attempt.0 + 1), "attempts grow by one");
                    assert_eq!(self.offered.insert(offer.task, session), None, "an attempt is offered twice");
                }
            }
            Step::Beat(worker, arrived) => {
                let session = self.workers[worker].1.unwrap();
                let held = arrived.map_or(Vec::new(), |running| {
                    self.offered_to(worker).into_iter().map(|task| Held { task, running }).collect()
                });
                let mine = held.iter().map(|held| held.task).filter(|task| self.lives(session, *task));
                let mine: Vec<_> = mine.collect();
                let tasks: Vec<_> = held.iter().map(|held| held.task).collect();
                if let Some(fenced) = allowed(done(store.beat(at, session, held))) {
                    assert!(tasks.iter().all(|task| mine.contains(task) != fenced.contains(task)));
                }
            }
            Step::Complete(session, task) => {
                let answer = done(store.commit(at, session, task, completion(task.attempt.0 as u8)));
                let Some(artifact) = allowed(answer) else { return };
                let earlier = self.committed.get(&task.job);
                assert!(earlier.is_some() || self.lives(session, task), "a dead attempt was committed");
                assert!(earlier.is_none_or(|earlier| *earlier == artifact), "there are two results");
                self.committed.insert(task.job, artifact);
            }
            Step::Fail(session, task, code) => _ = allowed(done(store.fail(at, session, task, failed(code)))),
            Step::Release(session, task) => {
                let ending = coordinator_store::model::Ending::Released;
                _ = allowed(done(store.fail(at, session, task, ending)));
            }
            Step::Cancel(job) => {
                _ = done(store.cancel(at, Selection { sweep: self.sweep, jobs: vec![job] })).unwrap();
            }
            Step::Retry => _ = done(store.retry(at, Selection { sweep: self.sweep, jobs: vec![] })).unwrap(),
            Step::Expire => _ = done(store.expire(at, Micros(0))).unwrap(),
            Step::Stall => _ = done(store.stall(at, Micros(0))).unwrap(),
            Step::Promote => _ = done(store.promote(at)).unwrap(),
            Step::Tick => self.now += TICK,
        }
    }

    /// Checks what the table shows by itself, and keeps it.
    fn look(&mut self) {
        self.facts = done(check(&self.store, &self.facts));
        self.read();
    }

    /// Reads what the table shows.
    fn read(&mut self) {
        self.facts = done(self.store.facts()).unwrap();
        let filter =
            coordinator_store::model::JobFilter { sweep: self.sweep, stage: None, state: None, limit: 99 };
        let jobs = done(self.store.jobs(filter)).unwrap().jobs;
        self.tries = jobs.iter().map(|job| (job.id, job.tries_left)).collect();
        for job in jobs {
            assert_eq!(self.committed.get(&job.id), job.artifact.as_ref(), "the result of job {}", job.id);
        }
    }

    /// Checks what a step may change.
    fn compare(&self, before: &Self, step: Step) {
        for (job, was) in self.facts.iter().zip(&before.facts) {
            let (tries, had) = (self.tries[&job.id], before.tries[&job.id]);
            assert!(job.attempt == was.attempt || matches!(step, Step::Claim(_)), "only a claim counts up");
            let pays = matches!(step, Step::Fail(..) | Step::Stall);
            assert!(tries == had || pays || step == Step::Retry, "{step:?} costs a try");
            let left = was.state.is_terminal() && job.state != was.state;
            assert!(!left || step == Step::Retry, "{step:?} leaves an end");
        }
    }

    /// Checks that every job ends once nothing fails any more. What was cancelled or failed for good counts as ended, and so does what
    /// waits for it.
    pub(crate) fn ends(&self) {
        let shown = Shown(self.path.clone());
        let mut world = self.fork();
        for _ in 0..ROUNDS {
            if world.facts.iter().all(|job| job.state.is_terminal() || world.is_hopeless(job)) {
                world.look();
                return drop(shown);
            }
            for step in [Step::Tick, Step::Expire, Step::Stall, Step::Promote] {
                world.take(step);
                world.read();
            }
            for worker in 0..world.workers.len() {
                let with_all = world.workers[worker].1.is_some();
                for step in
                    [Step::Register(worker, with_all), Step::Claim(worker), Step::Beat(worker, Some(true))]
                {
                    world.take(step);
                    world.read();
                }
                let session = world.workers[worker].1.unwrap();
                for task in world.offered_to(worker) {
                    if world.lives(session, task) {
                        world.take(Step::Complete(session, task));
                        world.read();
                    }
                }
            }
        }
        panic!("after {ROUNDS} rounds without a fault: {:#?}", world.facts);
    }

    fn is_hopeless(&self, job: &JobFacts) -> bool {
        let ended = |need: &JobFacts| matches!(need.state, JobState::Failed | JobState::Cancelled);
        job.state == JobState::Blocked && self.facts.iter().any(ended)
    }

    /// Everything that decides what can happen next, with ages instead of times.
    pub(crate) fn key(&self) -> String {
        let age = |time: Micros| (self.now - time.0).clamp(-OLD, OLD);
        let mut key = format!("{:?} ", self.workers);
        for job in &self.facts {
            // What has ended stays so, whoever wrote about it before.
            if job.state.is_terminal() {
                write!(key, "{} {};", job.state, job.attempt).unwrap();
                continue;
            }
            let JobFacts { state, attempt, outcomes, .. } = job;
            let outcomes: Vec<_> = outcomes.values().map(|outcome| outcome.map(Outcome::name)).collect();
            write!(key, "{state} {attempt} {outcomes:?} {} ", self.tries[&job.id]).unwrap();
            let situation = done(self.store.situation(job.id)).unwrap().unwrap();
            let since = situation.holder.map(|holder| (age(holder.since), age(holder.progress_at)));
            let wait = situation.not_before.map(age);
            write!(key, "{since:?} {wait:?} {:?} {:?};", situation.avoid, situation.error.map(|e| e.0))
                .unwrap();
        }
        for worker in done(self.store.workers()).unwrap() {
            let seen = (worker.state == WorkerState::Live).then(|| age(worker.seen_at));
            write!(key, "{} {:?} {seen:?} ", worker.id, worker.state).unwrap();
        }
        let live = self.offered.iter().filter(|(task, _)| !self.job(task.job).state.is_terminal());
        write!(key, "{:?}", live.collect::<Vec<_>>()).unwrap();
        key
    }

    fn session(&self, worker: usize, process: usize) -> NewSession {
        let name = ["a", "b", "c"][worker];
        NewSession { host: name.into(), ..session(name, &process.to_string()) }
    }

    fn job(&self, id: JobId) -> &JobFacts {
        self.facts.iter().find(|job| job.id == id).unwrap()
    }

    /// What a worker's session was ever offered.
    fn offered_to(&self, worker: usize) -> Vec<Task> {
        let own = |(_, session): &(&Task, &WorkerId)| Some(**session) == self.workers[worker].1;
        self.offered.iter().filter(own).map(|(task, _)| *task).collect()
    }

    /// Whether an attempt is its job's newest, lives, and belongs to a session.
    fn lives(&self, session: WorkerId, task: Task) -> bool {
        let job = self.job(task.job);
        self.offered.get(&task) == Some(&session)
            && job.attempt == task.attempt
            && job.outcomes.get(&task.attempt) == Some(&None)
    }
}

/// The answer of a table in memory, which never waits.
fn done<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("a table in memory answers at once")
}

/// The answer to a call that may be too late.
fn allowed<T>(answer: Result<T, StoreError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(StoreError::StaleAttempt(_) | StoreError::SessionLost(_) | StoreError::Superseded { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Prints how a world came about that breaks a rule.
struct Shown(Vec<Step>);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the steps: {:?}", self.0);
        }
    }
}
