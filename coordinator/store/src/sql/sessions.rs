//! Worker sessions: opened, renewed, expired, and what becomes of the jobs they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coordinator_core::lease::{AttemptFacts, Reattach, has_expired, is_lost_offer, on_reattach};
use coordinator_core::policy::Policy;
use coordinator_core::time::Micros;
use proto::id::{Attempt, JobId, LaneId, WorkerId};
use proto::pipe::Task;
use proto::state::{JobState, Outcome};
use serde_json::json as object;
use sqlx::any::{Any, AnyArguments, AnyRow};
use sqlx::query;
use sqlx::query::Query;

use super::Tx;
use super::row::{get, int, json, parse, parse_option, small, small_option, task, time, time_option};
use super::sweeps::{end_attempts, expect_rows};
use crate::error::{Result, StoreError};
use crate::model::{Beat, NewSession, Registered, Stamp, Told};

/// What the table knows about one attempt.
pub(super) struct AttemptRow {
    /// The attempt.
    pub(super) task: Task,
    /// The session that it was given to.
    pub(super) worker: WorkerId,
    /// The job's newest attempt.
    newest: Attempt,
    /// Where the job stands.
    state: JobState,
    /// How the attempt ended, if it has.
    outcome: Option<Outcome>,
    /// Where it runs.
    pub(super) lane: LaneId,
    /// The fan that it runs in.
    pub(super) fan: Option<String>,
    /// When it began.
    pub(super) started_at: Micros,
    /// The job's remaining tries.
    pub(super) tries_left: u32,
    /// How many jobs a process with this one may hold.
    pub(super) group_limit: Option<u32>,
    /// How often the job's passes have been halved.
    pub(super) halvings: u32,
    /// The machine where the job failed last.
    pub(super) avoid: Option<String>,
}

impl AttemptRow {
    /// What decides whether a session may write for the attempt.
    pub(super) fn facts(&self, worker: WorkerId) -> AttemptFacts {
        let Self { newest, state, outcome, .. } = *self;
        AttemptFacts { newest, state, own: self.worker == worker, outcome }
    }
}

/// Looks attempts up. One that never was is absent.
pub(super) async fn find_attempts(
    tx: &mut Tx<'_>,
    tasks: impl IntoIterator<Item = Task>,
) -> Result<BTreeMap<Task, AttemptRow>> {
    let tasks: Vec<_> = tasks.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    if tasks.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = query(tx.sql.attempt_facts).bind(json(&tasks)?).fetch_all(&mut *tx.db).await?;
    let mut found = BTreeMap::new();
    for row in &rows {
        if let Some(started_at) = time_option(row, "started_at")? {
            let attempt = attempt_row(row, started_at)?;
            found.insert(attempt.task, attempt);
        }
    }
    Ok(found)
}

fn attempt_row(row: &AnyRow, started_at: Micros) -> Result<AttemptRow> {
    Ok(AttemptRow {
        task: task(row)?,
        worker: WorkerId(get(row, "worker")?),
        newest: Attempt(small(row, "newest")?),
        state: parse(row, "state")?,
        outcome: parse_option(row, "outcome")?,
        lane: LaneId(small(row, "lane")?),
        fan: get(row, "fan")?,
        started_at,
        tries_left: small(row, "tries_left")?,
        group_limit: small_option(row, "group_limit")?,
        halvings: small(row, "halvings")?,
        avoid: get(row, "avoid")?,
    })
}

/// A live session.
pub(super) struct SessionRow {
    /// Its machine.
    pub(super) host: String,
    /// Whether it takes no more jobs.
    pub(super) takes_none: bool,
}

/// The live sessions among some.
pub(super) async fn live_among(
    tx: &mut Tx<'_>,
    policy: &Policy,
    workers: impl IntoIterator<Item = WorkerId>,
) -> Result<BTreeMap<WorkerId, SessionRow>> {
    let workers: BTreeSet<_> = workers.into_iter().collect();
    let rows = query(tx.sql.workers_of).bind(json(&workers)?).fetch_all(&mut *tx.db).await?;
    let session = |row| {
        let session = SessionRow { host: get(row, "host")?, takes_none: takes_none(row, policy)? };
        Ok((WorkerId(get(row, "id")?), session))
    };
    rows.iter().map(session).collect()
}

/// Whether a worker takes no more jobs: an operator drains it, it is on its way out, or it has spoilt too many.
pub(super) fn takes_none(row: &AnyRow, policy: &Policy) -> Result<bool> {
    let drained = get::<Option<i64>>(row, "drain_grace_ms")?.is_some();
    Ok(drained || get::<i64>(row, "leaving")? != 0 || small(row, "blamed")? >= policy.blame_limit)
}

/// See [`crate::Store::register`].
pub(super) async fn register(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    session: &NewSession,
    held: &[Task],
) -> Result<Registered> {
    let worker = open(tx, at, policy, session).await?;
    let older = query(tx.sql.workers_supersede)
        .bind(&session.name)
        .bind(worker.0)
        .bind(int(at.term.0))
        .fetch_all(&mut *tx.db)
        .await?;
    let older = older.iter().map(|row| get(row, "id").map(WorkerId)).collect::<Result<Vec<_>>>()?;
    let orphans = held_by(tx, &older).await?.into_keys().collect::<Vec<_>>();
    take_back(tx, at, &orphans, Outcome::Expired).await?;

    let mut registered = Registered { worker, keep: Vec::new(), fenced: Vec::new() };
    let attempts = find_attempts(tx, held.iter().copied()).await?;
    for task in held.iter().copied() {
        let decision = match attempts.get(&task) {
            Some(row) => (on_reattach(task.attempt, &row.facts(worker)), row.lane),
            None => (Reattach::Fenced, LaneId(0)),
        };
        match decision {
            (Reattach::Keep, _) => registered.keep.push(task),
            (Reattach::Revive, lane) => {
                revive(tx, at, worker, lane, task).await?;
                registered.keep.push(task);
            }
            (Reattach::Fenced, _) => registered.fenced.push(task),
        }
    }
    let believed = held_by(tx, &[worker]).await?.into_keys();
    let unknown: Vec<_> = believed.filter(|task| !registered.keep.contains(task)).collect();
    take_back(tx, at, &unknown, Outcome::Released).await?;
    Ok(registered)
}

/// Finds or creates the session's row and renews its lease.
async fn open(tx: &mut Tx<'_>, at: Stamp, policy: &Policy, session: &NewSession) -> Result<WorkerId> {
    let found = query(tx.sql.worker_find)
        .bind(&session.name)
        .bind(&session.incarnation)
        .fetch_optional(&mut *tx.db)
        .await?;
    let lease = at.now.after(policy.lease_ttl);
    let Some(row) = found else {
        let insert = query(tx.sql.worker_insert).bind(&session.name).bind(&session.incarnation);
        let row = describe(insert, at, session, lease)?.fetch_one(&mut *tx.db).await?;
        return Ok(WorkerId(get(&row, "id")?));
    };
    let worker = WorkerId(get(&row, "id")?);
    let reopen = query(tx.sql.worker_reopen).bind(worker.0);
    let done = describe(reopen, at, session, lease)?.execute(&mut *tx.db).await?;
    if done.rows_affected() == 0 {
        let (name, incarnation) = (session.name.clone(), session.incarnation.clone());
        return Err(StoreError::Superseded { name, incarnation });
    }
    Ok(worker)
}

/// Binds what a session's row says besides who it is.
fn describe<'q>(
    statement: Query<'q, Any, AnyArguments>,
    at: Stamp,
    session: &'q NewSession,
    lease: Micros,
) -> Result<Query<'q, Any, AnyArguments>> {
    Ok(statement
        .bind(&session.host)
        .bind(&session.version)
        .bind(json(&session.lanes)?)
        .bind(int(session.lanes.len() as u64))
        .bind(i64::from(session.leaving))
        .bind(lease.0)
        .bind(at.now.0)
        .bind(int(at.term.0)))
}

/// Gives an expired attempt back to its worker under the same number.
async fn revive(tx: &mut Tx<'_>, at: Stamp, worker: WorkerId, lane: LaneId, task: Task) -> Result<()> {
    let job = query(tx.sql.job_revive)
        .bind(task.job.0)
        .bind(i64::from(task.attempt.0))
        .bind(worker.0)
        .bind(i64::from(lane.0))
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx.db)
        .await?;
    expect_rows(job.rows_affected(), 1, "job to revive")?;
    let attempt = query(tx.sql.attempt_revive)
        .bind(task.job.0)
        .bind(i64::from(task.attempt.0))
        .execute(&mut *tx.db)
        .await?;
    expect_rows(attempt.rows_affected(), 1, "attempt to revive")
}

/// See [`crate::Store::heartbeat`].
pub(super) async fn heartbeat(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    beats: &[Beat],
) -> Result<Vec<Result<Told>>> {
    let renew: BTreeMap<_, _> = beats.iter().map(|beat| (beat.worker, i64::from(beat.leaving))).collect();
    let renew: Vec<_> = renew
        .into_iter()
        .map(|(worker, leaving)| object!({ "worker": worker, "leaving": leaving }))
        .collect();
    let renewed = query(tx.sql.workers_renew)
        .bind(json(&renew)?)
        .bind(at.now.after(policy.lease_ttl).0)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .fetch_all(&mut *tx.db)
        .await?;
    let mut drains = BTreeMap::new();
    for row in &renewed {
        let grace = get::<Option<i64>>(row, "drain_grace_ms")?;
        let grace = grace.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        drains.insert(WorkerId(get(row, "id")?), grace);
    }
    let live: Vec<_> = drains.keys().copied().collect();
    let believed = held_by(tx, &live).await?;
    let mut started = BTreeMap::new();
    let mut lost = Vec::new();
    let mut told = Vec::with_capacity(beats.len());
    for beat in beats {
        let Some(drain) = drains.get(&beat.worker) else {
            told.push(Err(StoreError::SessionLost(beat.worker)));
            continue;
        };
        let own = |task: &Task| believed.get(task).filter(|belief| belief.worker == beat.worker);
        let fenced = beat.held.iter().map(|h| h.task).filter(|task| own(task).is_none()).collect();
        for held in beat.held.iter().filter(|h| h.running) {
            if own(&held.task).is_some_and(|belief| belief.state == JobState::Leased) {
                started.insert(held.task, beat.worker);
            }
        }
        let named: BTreeSet<_> = beat.held.iter().map(|h| h.task).collect();
        lost.extend(believed.iter().filter_map(|(task, belief)| {
            let offered = belief.worker == beat.worker && belief.state == JobState::Leased;
            let gone = offered && is_lost_offer(belief.offered_at, policy, at.now) && !named.contains(task);
            gone.then_some(*task)
        }));
        told.push(Ok(Told { fenced, drain: *drain }));
    }
    if !started.is_empty() {
        let rows: Vec<_> = started
            .iter()
            .map(|(task, worker)| object!({ "job": task.job, "attempt": task.attempt, "worker": worker }))
            .collect();
        let done = query(tx.sql.jobs_start)
            .bind(json(&rows)?)
            .bind(at.now.0)
            .bind(int(at.term.0))
            .execute(&mut *tx.db)
            .await?;
        expect_rows(done.rows_affected(), started.len(), "job to start")?;
    }
    lost.sort_unstable();
    lost.dedup();
    lost.retain(|task| !started.contains_key(task));
    take_back(tx, at, &lost, Outcome::Released).await?;
    Ok(told)
}

/// See [`crate::Store::drain`].
pub(super) async fn drain(tx: &mut Tx<'_>, at: Stamp, worker: &str, order: Option<Duration>) -> Result<bool> {
    let grace = order.map(|grace| i64::try_from(grace.as_millis()).unwrap_or(i64::MAX));
    let found = query(tx.sql.worker_drain)
        .bind(worker)
        .bind(grace)
        .bind(int(at.term.0))
        .fetch_optional(&mut *tx.db)
        .await?;
    Ok(found.is_some())
}

/// See [`crate::Store::expire`].
pub(super) async fn expire(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    serving_since: Micros,
) -> Result<u64> {
    let mut silent = Vec::new();
    for row in query(tx.sql.workers_live).fetch_all(&mut *tx.db).await? {
        let lease = time(&row, "lease_expires_at")?;
        if has_expired(lease, serving_since, policy, at.now) {
            let worker = WorkerId(get(&row, "id")?);
            let done = query(tx.sql.worker_lose)
                .bind(worker.0)
                .bind(lease.0)
                .bind(int(at.term.0))
                .execute(&mut *tx.db)
                .await?;
            expect_rows(done.rows_affected(), 1, "live session to expire")?;
            silent.push(worker);
        }
    }
    let orphans: Vec<_> = held_by(tx, &silent).await?.into_keys().collect();
    take_back(tx, at, &orphans, Outcome::Expired).await?;
    Ok(orphans.len() as u64)
}

/// What the table believes about an attempt that a session holds.
struct Belief {
    state: JobState,
    worker: WorkerId,
    offered_at: Micros,
}

/// What some sessions hold, as the table believes.
async fn held_by(tx: &mut Tx<'_>, workers: &[WorkerId]) -> Result<BTreeMap<Task, Belief>> {
    if workers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = query(tx.sql.held_by_workers).bind(json(workers)?).fetch_all(&mut *tx.db).await?;
    let belief = |row| {
        let (state, worker) = (parse(row, "state")?, WorkerId(get(row, "worker")?));
        Ok((task(row)?, Belief { state, worker, offered_at: time(row, "started_at")? }))
    };
    rows.iter().map(belief).collect()
}

/// Makes held jobs ready again and ends their attempts, at no cost to their budgets.
pub(super) async fn take_back(tx: &mut Tx<'_>, at: Stamp, tasks: &[Task], outcome: Outcome) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let jobs: Vec<JobId> = tasks.iter().map(|task| task.job).collect();
    let done = query(tx.sql.jobs_take_back)
        .bind(json(tasks)?)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx.db)
        .await?;
    expect_rows(done.rows_affected(), tasks.len(), "held job to take back")?;
    end_attempts(tx, at, &jobs, outcome).await
}
