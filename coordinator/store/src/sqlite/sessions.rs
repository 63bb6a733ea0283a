//! Worker sessions: opened, renewed, expired, and what becomes of the jobs they hold.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::lease::{AttemptFacts, Reattach, has_expired, is_lost_offer, on_reattach};
use coordinator_core::policy::Policy;
use coordinator_core::time::Micros;
use proto::id::{Attempt, JobId, LaneId, WorkerId};
use proto::pipe::Task;
use proto::state::{JobState, Outcome};
use sqlx::{SqliteConnection, query};

use super::queries as q;
use super::row::{get, int, json, pairs, parse, parse_option, small, small_option, task, time, time_option};
use super::sweeps::{end_attempts, expect_rows};
use crate::error::{Result, StoreError};
use crate::model::{Held, NewSession, Registered, Stamp};

/// What the table knows about one attempt.
pub(super) struct AttemptRow {
    /// The attempt.
    pub(super) task: Task,
    /// The session that it was given to.
    pub(super) worker: WorkerId,
    /// What decides whether it may write.
    pub(super) facts: AttemptFacts,
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
}

/// Looks an attempt up on behalf of a session. None when there never was such an attempt.
pub(super) async fn find_attempt(
    tx: &mut SqliteConnection,
    worker: WorkerId,
    task: Task,
) -> Result<Option<AttemptRow>> {
    let row = query(q::ATTEMPT_FACTS).bind(task.job.0).bind(task.attempt.0).fetch_optional(&mut *tx).await?;
    let Some(row) = row else { return Ok(None) };
    let Some(started_at) = time_option(&row, "started_at")? else { return Ok(None) };
    let given_to = WorkerId(get(&row, "worker")?);
    let facts = AttemptFacts {
        newest: Attempt(small(&row, "newest")?),
        state: parse(&row, "state")?,
        own: given_to == worker,
        outcome: parse_option(&row, "outcome")?,
    };
    Ok(Some(AttemptRow {
        task,
        worker: given_to,
        facts,
        lane: LaneId(small(&row, "lane")?),
        fan: get(&row, "fan")?,
        started_at,
        tries_left: small(&row, "tries_left")?,
        group_limit: small_option(&row, "group_limit")?,
    }))
}

/// See [`crate::Store::register`].
pub(super) async fn register(
    tx: &mut SqliteConnection,
    at: Stamp,
    policy: &Policy,
    session: &NewSession,
    held: &[Task],
) -> Result<Registered> {
    let worker = open(tx, at, policy, session).await?;
    let older = query(q::WORKERS_SUPERSEDE)
        .bind(&session.name)
        .bind(worker.0)
        .bind(int(at.term.0))
        .fetch_all(&mut *tx)
        .await?;
    let older = older.iter().map(|row| get(row, "id").map(WorkerId)).collect::<Result<Vec<_>>>()?;
    let orphans = held_by(tx, &older).await?.into_keys().collect::<Vec<_>>();
    take_back(tx, at, &orphans, Outcome::Expired).await?;

    let mut registered = Registered { worker, keep: Vec::new(), fenced: Vec::new() };
    for task in held.iter().copied() {
        let decision = match find_attempt(tx, worker, task).await? {
            Some(row) => (on_reattach(task.attempt, &row.facts), row.lane),
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
async fn open(
    tx: &mut SqliteConnection,
    at: Stamp,
    policy: &Policy,
    session: &NewSession,
) -> Result<WorkerId> {
    let found =
        query(q::WORKER_FIND).bind(&session.name).bind(&session.incarnation).fetch_optional(&mut *tx).await?;
    let lanes = json(&session.lanes)?;
    let lease = at.now.after(policy.lease_ttl).0;
    let Some(row) = found else {
        let row = query(q::WORKER_INSERT)
            .bind(&session.name)
            .bind(&session.incarnation)
            .bind(&session.host)
            .bind(&session.version)
            .bind(lanes)
            .bind(lease)
            .bind(at.now.0)
            .bind(int(at.term.0))
            .fetch_one(&mut *tx)
            .await?;
        return Ok(WorkerId(get(&row, "id")?));
    };
    let worker = WorkerId(get(&row, "id")?);
    let done = query(q::WORKER_REOPEN)
        .bind(worker.0)
        .bind(&session.host)
        .bind(&session.version)
        .bind(lanes)
        .bind(lease)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx)
        .await?;
    if done.rows_affected() == 0 {
        let (name, incarnation) = (session.name.clone(), session.incarnation.clone());
        return Err(StoreError::Superseded { name, incarnation });
    }
    Ok(worker)
}

/// Gives an expired attempt back to its worker under the same number.
async fn revive(
    tx: &mut SqliteConnection,
    at: Stamp,
    worker: WorkerId,
    lane: LaneId,
    task: Task,
) -> Result<()> {
    let job = query(q::JOB_REVIVE)
        .bind(task.job.0)
        .bind(task.attempt.0)
        .bind(worker.0)
        .bind(lane.0)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx)
        .await?;
    expect_rows(job.rows_affected(), 1, "job to revive")?;
    let attempt = query(q::ATTEMPT_REVIVE).bind(task.job.0).bind(task.attempt.0).execute(&mut *tx).await?;
    expect_rows(attempt.rows_affected(), 1, "attempt to revive")
}

/// See [`crate::Store::heartbeat`].
pub(super) async fn heartbeat(
    tx: &mut SqliteConnection,
    at: Stamp,
    policy: &Policy,
    worker: WorkerId,
    held: &[Held],
) -> Result<Vec<Task>> {
    let renewed = query(q::WORKER_RENEW)
        .bind(worker.0)
        .bind(at.now.after(policy.lease_ttl).0)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx)
        .await?;
    if renewed.rows_affected() == 0 {
        return Err(StoreError::SessionLost(worker));
    }
    let believed = held_by(tx, &[worker]).await?;
    let fenced = held.iter().map(|h| h.task).filter(|task| !believed.contains_key(task)).collect();
    let offered = |task: &Task| believed.get(task).is_some_and(|(state, _)| *state == JobState::Leased);
    let started = held.iter().filter(|h| h.running && offered(&h.task)).map(|h| h.task);
    let started: Vec<_> = started.collect::<BTreeSet<_>>().into_iter().collect();
    if !started.is_empty() {
        let done = query(q::JOBS_START)
            .bind(pairs(&started)?)
            .bind(worker.0)
            .bind(at.now.0)
            .bind(int(at.term.0))
            .execute(&mut *tx)
            .await?;
        expect_rows(done.rows_affected(), started.len(), "job to start")?;
    }
    let lost = believed.iter().filter(|(task, (state, offered_at))| {
        *state == JobState::Leased
            && is_lost_offer(*offered_at, policy, at.now)
            && !held.iter().any(|h| h.task == **task)
    });
    let lost: Vec<_> = lost.map(|(task, _)| *task).collect();
    take_back(tx, at, &lost, Outcome::Released).await?;
    Ok(fenced)
}

/// See [`crate::Store::expire`].
pub(super) async fn expire(
    tx: &mut SqliteConnection,
    at: Stamp,
    policy: &Policy,
    serving_since: Micros,
) -> Result<u64> {
    let mut silent = Vec::new();
    for row in query(q::WORKERS_LIVE).fetch_all(&mut *tx).await? {
        let lease = time(&row, "lease_expires_at")?;
        if has_expired(lease, serving_since, policy, at.now) {
            let worker = WorkerId(get(&row, "id")?);
            let done = query(q::WORKER_LOSE)
                .bind(worker.0)
                .bind(lease.0)
                .bind(int(at.term.0))
                .execute(&mut *tx)
                .await?;
            expect_rows(done.rows_affected(), 1, "live session to expire")?;
            silent.push(worker);
        }
    }
    let orphans: Vec<_> = held_by(tx, &silent).await?.into_keys().collect();
    take_back(tx, at, &orphans, Outcome::Expired).await?;
    Ok(orphans.len() as u64)
}

/// What some sessions hold, as the table believes: state and time of the offer.
async fn held_by(
    tx: &mut SqliteConnection,
    workers: &[WorkerId],
) -> Result<BTreeMap<Task, (JobState, Micros)>> {
    if workers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = query(q::HELD_BY_WORKERS).bind(json(workers)?).fetch_all(&mut *tx).await?;
    rows.iter().map(|row| Ok((task(row)?, (parse(row, "state")?, time(row, "started_at")?)))).collect()
}

/// Makes held jobs ready again and ends their attempts, at no cost to their budgets.
pub(super) async fn take_back(
    tx: &mut SqliteConnection,
    at: Stamp,
    tasks: &[Task],
    outcome: Outcome,
) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let jobs: Vec<JobId> = tasks.iter().map(|task| task.job).collect();
    let done = query(q::JOBS_TAKE_BACK)
        .bind(pairs(tasks)?)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx)
        .await?;
    expect_rows(done.rows_affected(), tasks.len(), "held job to take back")?;
    end_attempts(tx, at, &jobs, outcome).await
}

/// Fails unless a session is live.
pub(super) async fn require_session(tx: &mut SqliteConnection, worker: WorkerId) -> Result<()> {
    let live = query(q::WORKER_IS_LIVE).bind(worker.0).fetch_optional(&mut *tx).await?;
    live.map(drop).ok_or(StoreError::SessionLost(worker))
}
