//! Submitting, cancelling and retrying sweeps, and their ends.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::policy::Policy;
use coordinator_core::sweep::{Counters, Tally, state_of};
use proto::id::{JobId, JobKey, SweepId};
use proto::state::{JobState, Outcome, SweepState};
use serde_json::{Value, json};
use sqlx::query;

use super::Tx;
use super::row::{count, get, int, json as list, named, parse};
use super::waive::waive_lost;
use crate::error::{Result, StoreError};
use crate::model::{Artifact, NewJob, NewSweep, Selection, Source, Stamp, Submitted};

/// Rows that one insert takes, so that no statement's text grows with the sweep.
const BATCH: usize = 500;

/// See [`crate::Store::submit`].
pub(super) async fn submit(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    sweep: &NewSweep,
) -> Result<Submitted> {
    let digest = sweep.manifest_digest.to_string();
    if let Some(row) = query(tx.sql.sweep_joinable).bind(&digest).fetch_optional(&mut *tx.db).await? {
        return Ok(Submitted { sweep: SweepId(get(&row, "id")?), joined: true });
    }
    let known = known_jobs(tx, &sweep.jobs).await?;
    insert_jobs(tx, at, policy, sweep, &known).await?;
    let ids: BTreeMap<_, _> =
        known_jobs(tx, &sweep.jobs).await?.into_iter().map(|(key, (id, _))| (key, id)).collect();
    insert_inputs(tx, &sweep.jobs, &ids, &known).await?;
    let row = query(tx.sql.sweep_insert)
        .bind(&sweep.name)
        .bind(&digest)
        .bind(i64::from(sweep.priority))
        .bind(at.now.0)
        .bind(int(at.term.0))
        .bind(&sweep.owner)
        .bind(sweep.trace.as_deref())
        .fetch_one(&mut *tx.db)
        .await?;
    let id = SweepId(get(&row, "id")?);
    query(tx.sql.stages_insert).bind(id.0).bind(named("name", &sweep.stages)?).execute(&mut *tx.db).await?;
    let members = sweep.jobs.iter().enumerate().map(|(ordinal, job)| {
        let result = i32::from(job.fan.is_none());
        Ok(json!({ "job": id_of(&ids, &job.key)?, "stage": job.stage, "ordinal": ordinal, "result": result }))
    });
    for batch in members.collect::<Result<Vec<_>>>()?.chunks(BATCH) {
        query(tx.sql.sweep_jobs_insert).bind(id.0).bind(list(batch)?).execute(&mut *tx.db).await?;
    }
    let joined: Vec<_> = known.values().map(|(id, _)| *id).collect();
    query(tx.sql.jobs_raise_priority)
        .bind(list(&joined)?)
        .bind(i64::from(sweep.priority))
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx.db)
        .await?;
    let misses = sweep.jobs.iter().filter_map(|job| Some((known.get(&job.key)?.0, job.may_miss)));
    let misses: Vec<_> = misses.map(|(job, may_miss)| json!({ "job": job, "may_miss": may_miss })).collect();
    query(tx.sql.jobs_limit_misses).bind(list(&misses)?).bind(id.0).execute(&mut *tx.db).await?;
    give_fresh_budget(tx, at, policy, &joined).await?;
    settle_all(tx, at, BTreeSet::from([id])).await?;
    Ok(Submitted { sweep: id, joined: false })
}

/// Which of some planned jobs exist, and where they stand.
async fn known_jobs(tx: &mut Tx<'_>, jobs: &[NewJob]) -> Result<BTreeMap<JobKey, (JobId, JobState)>> {
    let mut known = BTreeMap::new();
    for batch in jobs.chunks(BATCH) {
        let keys = batch.iter().map(|job| job.key);
        for row in query(tx.sql.jobs_by_key).bind(named("key", keys)?).fetch_all(&mut *tx.db).await? {
            known.insert(parse(&row, "key")?, (JobId(get(&row, "id")?), parse(&row, "state")?));
        }
    }
    Ok(known)
}

/// Inserts the jobs that are not known. One is ready when all that it needs has succeeded.
async fn insert_jobs(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    sweep: &NewSweep,
    known: &BTreeMap<JobKey, (JobId, JobState)>,
) -> Result<()> {
    let planned: BTreeSet<_> = sweep.jobs.iter().map(|job| job.key).collect();
    let mut rows = Vec::new();
    for job in &sweep.jobs {
        let needs = job.needs();
        if let Some(key) = needs.iter().find(|key| !planned.contains(key)) {
            return Err(StoreError::UnknownNeed { label: job.label.clone(), key: *key });
        }
        if known.contains_key(&job.key) {
            continue;
        }
        let open = |key: &&JobKey| !matches!(known.get(*key), Some((_, JobState::Succeeded)));
        let pending_deps = needs.iter().filter(open).count();
        rows.push(json!({
            "key": job.key, "kind": job.kind, "label": job.label, "spec": job.spec, "fan": job.fan,
            "fan_limits": job.fan_limits, "tokens": int(job.tokens), "coverage": i32::from(job.coverage),
            "may_miss": job.may_miss, "pending_deps": pending_deps,
        }));
    }
    for batch in rows.chunks(BATCH) {
        let done = query(tx.sql.jobs_insert)
            .bind(list(batch)?)
            .bind(i64::from(sweep.priority))
            .bind(i64::from(policy.tries))
            .bind(at.now.0)
            .bind(int(at.term.0))
            .bind(&sweep.owner)
            .execute(&mut *tx.db)
            .await?;
        expect_rows(done.rows_affected(), batch.len(), "room for planned jobs")?;
    }
    Ok(())
}

/// Inserts the inputs of the jobs that were not known.
async fn insert_inputs(
    tx: &mut Tx<'_>,
    jobs: &[NewJob],
    ids: &BTreeMap<JobKey, JobId>,
    known: &BTreeMap<JobKey, (JobId, JobState)>,
) -> Result<()> {
    let mut rows: Vec<Value> = Vec::new();
    for job in jobs.iter().filter(|job| !known.contains_key(&job.key)) {
        let id = id_of(ids, &job.key)?;
        for input in &job.inputs {
            let optional = i32::from(input.optional);
            rows.push(match &input.source {
                Source::Artifact(Artifact { path, digest }) => json!({
                    "job": id, "name": input.name, "optional": optional, "path": path, "digest": digest,
                }),
                Source::Job(key) => json!({
                    "job": id, "name": input.name, "optional": optional, "needs": id_of(ids, key)?,
                }),
            });
        }
    }
    for batch in rows.chunks(BATCH) {
        query(tx.sql.inputs_insert).bind(list(batch)?).execute(&mut *tx.db).await?;
    }
    Ok(())
}

fn id_of(ids: &BTreeMap<JobKey, JobId>, key: &JobKey) -> Result<JobId> {
    ids.get(key).copied().ok_or_else(|| StoreError::missing(format!("job {key}")))
}

/// See [`crate::Store::cancel`].
pub(super) async fn cancel(tx: &mut Tx<'_>, at: Stamp, selection: &Selection) -> Result<u64> {
    if sweep_state(tx, selection.sweep).await? != SweepState::Running {
        return Ok(0);
    }
    let jobs: Vec<_> = selected(tx, tx.sql.jobs_cancellable, selection).await?;
    let changed = query(tx.sql.jobs_cancel)
        .bind(list(&jobs)?)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .fetch_all(&mut *tx.db)
        .await?;
    expect_rows(changed.len() as u64, jobs.len(), "job to cancel")?;
    end_attempts(tx, at, &jobs, Outcome::Cancelled).await?;
    if selection.jobs.is_empty() {
        end_sweep(tx, at, selection.sweep, SweepState::Cancelled).await?;
    } else {
        settle_all(tx, at, BTreeSet::from([selection.sweep])).await?;
    }
    Ok(changed.len() as u64)
}

/// The jobs of a selection that a statement finds.
pub(super) async fn selected<T: FromIterator<JobId>>(
    tx: &mut Tx<'_>,
    sql: &'static str,
    selection: &Selection,
) -> Result<T> {
    let rows = query(sql)
        .bind(selection.sweep.0)
        .bind(list(&selection.jobs)?)
        .bind(int(selection.jobs.len() as u64))
        .fetch_all(&mut *tx.db)
        .await?;
    rows.iter().map(|row| get(row, "id").map(JobId)).collect()
}

/// See [`crate::Store::retry`].
pub(super) async fn retry(tx: &mut Tx<'_>, at: Stamp, policy: &Policy, selection: &Selection) -> Result<u64> {
    let state = sweep_state(tx, selection.sweep).await?;
    let jobs: Vec<_> = selected(tx, tx.sql.jobs_retryable, selection).await?;
    let changed = give_fresh_budget(tx, at, policy, &jobs).await?;
    if changed > 0 && state.is_terminal() {
        reopen(tx, at, selection.sweep).await?;
    }
    Ok(changed)
}

/// Makes those of some jobs that ended without an artifact ready or blocked again. Returns how many.
async fn give_fresh_budget(tx: &mut Tx<'_>, at: Stamp, policy: &Policy, jobs: &[JobId]) -> Result<u64> {
    let rows = query(tx.sql.jobs_retry)
        .bind(list(jobs)?)
        .bind(i64::from(policy.tries))
        .bind(at.now.0)
        .bind(int(at.term.0))
        .fetch_all(&mut *tx.db)
        .await?;
    Ok(rows.len() as u64)
}

/// Ends the living attempts of some jobs.
pub(super) async fn end_attempts(tx: &mut Tx<'_>, at: Stamp, jobs: &[JobId], outcome: Outcome) -> Result<()> {
    query(tx.sql.attempts_end)
        .bind(list(jobs)?)
        .bind(at.now.0)
        .bind(outcome.name())
        .bind(None::<&str>)
        .execute(&mut *tx.db)
        .await?;
    Ok(())
}

/// Ends the live sweeps that contain one of some jobs, as far as nothing in them can move any more.
pub(super) async fn settle_all_with(tx: &mut Tx<'_>, at: Stamp, jobs: &BTreeSet<JobId>) -> Result<()> {
    let sweeps = sweeps_with(tx, jobs).await?;
    settle_all(tx, at, sweeps).await
}

/// The live sweeps that contain one of some jobs.
async fn sweeps_with(tx: &mut Tx<'_>, jobs: &BTreeSet<JobId>) -> Result<BTreeSet<SweepId>> {
    let rows = query(tx.sql.sweeps_touched).bind(list(jobs)?).fetch_all(&mut *tx.db).await?;
    rows.iter().map(|row| get(row, "id").map(SweepId)).collect()
}

/// Ends those of some live sweeps in which nothing can move any more. What may be waived is waived before, and can move others.
async fn settle_all(tx: &mut Tx<'_>, at: Stamp, mut sweeps: BTreeSet<SweepId>) -> Result<()> {
    while let Some(sweep) = sweeps.pop_first() {
        let state = state_of(&counters(tx, sweep).await?);
        let waived =
            if state == SweepState::Failed { waive_lost(tx, at, sweep).await? } else { BTreeSet::new() };
        if !waived.is_empty() {
            sweeps.extend(sweeps_with(tx, &waived).await?);
        } else if state.is_terminal() {
            end_sweep(tx, at, sweep, state).await?;
        }
    }
    Ok(())
}

async fn counters(tx: &mut Tx<'_>, sweep: SweepId) -> Result<Counters> {
    let mut counters = Counters::new();
    for row in query(tx.sql.sweep_counters).bind(sweep.0).fetch_all(&mut *tx.db).await? {
        let tally = Tally {
            jobs: count(&row, "jobs")?,
            tokens: count(&row, "tokens")?,
            device_ms: count(&row, "device_ms")?,
        };
        counters.insert(parse(&row, "state")?, tally);
    }
    Ok(counters)
}

async fn end_sweep(tx: &mut Tx<'_>, at: Stamp, sweep: SweepId, state: SweepState) -> Result<()> {
    let done = query(tx.sql.sweep_end)
        .bind(sweep.0)
        .bind(state.name())
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx.db)
        .await?;
    expect_rows(done.rows_affected(), 1, "live sweep to end")
}

/// Makes a sweep that has ended live again.
pub(super) async fn reopen(tx: &mut Tx<'_>, at: Stamp, sweep: SweepId) -> Result<()> {
    let done = query(tx.sql.sweep_reopen)
        .bind(sweep.0)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx.db)
        .await?;
    expect_rows(done.rows_affected(), 1, "sweep to reopen")
}

pub(super) async fn sweep_state(tx: &mut Tx<'_>, sweep: SweepId) -> Result<SweepState> {
    let row = query(tx.sql.sweep_state).bind(sweep.0).fetch_optional(&mut *tx.db).await?;
    parse(&row.ok_or_else(|| StoreError::missing(format!("sweep {sweep}")))?, "state")
}

/// Checks how many rows a write changed.
pub(super) fn expect_rows(changed: u64, expected: usize, what: &str) -> Result<()> {
    if changed == expected as u64 { Ok(()) } else { Err(StoreError::missing(what)) }
}
