//! What the table shows.

use std::collections::BTreeMap;

use coordinator_core::invariants::JobFacts;
use coordinator_core::policy::Policy;
use coordinator_core::sweep::{Counters, Tally};
use proto::id::{Attempt, JobId, JobKey, SweepId, WorkerId};
use proto::state::{JobState, Outcome};
use sqlx::any::AnyRow;
use sqlx::query;

use super::Tx;
use super::row::{
    artifact, count, get, named, parse, parse_option, progress, small, small_option, task, time, time_option,
};
use super::sessions::takes_none;
use crate::error::{Result, StoreError};
use crate::model::{
    ArtifactView, EventView, FailureView, HeldView, JobFilter, JobPage, JobView, Newest, ResultView,
    StageView, SweepRow, SweepView, Totals, WorkerState, WorkerView,
};

/// See [`crate::Store::find_sweep`].
pub(super) async fn find_sweep(tx: &mut Tx<'_>, id_or_name: &str) -> Result<Option<SweepRow>> {
    if let Ok(id) = id_or_name.parse()
        && let Some(row) = sweep_by_id(tx, SweepId(id)).await?
    {
        return Ok(Some(row));
    }
    let row = query(tx.sql.sweep_by_name).bind(id_or_name).fetch_optional(&mut *tx.db).await?;
    row.as_ref().map(sweep_row).transpose()
}

async fn sweep_by_id(tx: &mut Tx<'_>, id: SweepId) -> Result<Option<SweepRow>> {
    let row = query(tx.sql.sweep_by_id).bind(id.0).fetch_optional(&mut *tx.db).await?;
    row.as_ref().map(sweep_row).transpose()
}

/// See [`crate::Store::sweeps`].
pub(super) async fn sweeps(tx: &mut Tx<'_>) -> Result<Vec<SweepRow>> {
    query(tx.sql.sweeps).fetch_all(&mut *tx.db).await?.iter().map(sweep_row).collect()
}

fn sweep_row(row: &AnyRow) -> Result<SweepRow> {
    Ok(SweepRow {
        id: SweepId(get(row, "id")?),
        name: get(row, "name")?,
        state: parse(row, "state")?,
        created_at: time(row, "created_at")?,
        finished_at: time_option(row, "finished_at")?,
    })
}

/// See [`crate::Store::sweep`].
pub(super) async fn sweep(tx: &mut Tx<'_>, id: SweepId) -> Result<Option<SweepView>> {
    let Some(row) = sweep_by_id(tx, id).await? else { return Ok(None) };
    // Sorted here: asked for an order, Postgres walks the whole sweep in it.
    let mut held = BTreeMap::new();
    for row in query(tx.sql.held_of_sweep).bind(id.0).fetch_all(&mut *tx.db).await? {
        held.insert(get::<i64>(&row, "ordinal")?, held_view(&row)?);
    }
    let results = query(tx.sql.results).bind(id.0).fetch_all(&mut *tx.db).await?;
    let failures =
        query(tx.sql.failures).bind(id.0).bind(i64::from(SweepView::FAILURES)).fetch_all(&mut *tx.db).await?;
    Ok(Some(SweepView {
        row,
        stages: stages(tx, id).await?,
        held: held.into_values().collect(),
        results: results.iter().map(result_view).collect::<Result<_>>()?,
        failures: failures.iter().map(failure_view).collect::<Result<_>>()?,
    }))
}

async fn stages(tx: &mut Tx<'_>, id: SweepId) -> Result<Vec<StageView>> {
    let mut stages: Vec<StageView> = Vec::new();
    for row in query(tx.sql.stage_counters).bind(id.0).fetch_all(&mut *tx.db).await? {
        let name: String = get(&row, "name")?;
        if stages.last().is_none_or(|last| last.name != name) {
            stages.push(StageView { name, counters: Counters::new() });
        }
        let state: Option<JobState> = parse_option(&row, "state")?;
        if let (Some(stage), Some(state)) = (stages.last_mut(), state) {
            let tally = Tally {
                jobs: count(&row, "jobs")?,
                tokens: count(&row, "tokens")?,
                device_ms: count(&row, "device_ms")?,
            };
            stage.counters.insert(state, tally);
        }
    }
    Ok(stages)
}

fn held_view(row: &AnyRow) -> Result<HeldView> {
    Ok(HeldView {
        stage: get(row, "stage")?,
        task: task(row)?,
        tokens: count(row, "planned")?,
        progress: progress(row)?,
    })
}

fn result_view(row: &AnyRow) -> Result<ResultView> {
    Ok(ResultView {
        stage: get(row, "stage")?,
        label: get(row, "label")?,
        role: get(row, "role")?,
        artifact: artifact(row)?,
        metrics: serde_json::from_str(get(row, "metrics")?).map_err(StoreError::corrupt)?,
    })
}

fn failure_view(row: &AnyRow) -> Result<FailureView> {
    let state: JobState = parse(row, "state")?;
    Ok(FailureView {
        job: JobId(get(row, "id")?),
        label: get(row, "label")?,
        stage: get(row, "stage")?,
        waived: state == JobState::Skipped,
        code: parse_option(row, "error_code")?,
        message: get::<Option<String>>(row, "error")?.unwrap_or_default(),
    })
}

/// See [`crate::Store::workers`].
pub(super) async fn workers(tx: &mut Tx<'_>, policy: &Policy) -> Result<Vec<WorkerView>> {
    let worker = |row| {
        let state: &str = get(row, "state")?;
        let known = [WorkerState::Live, WorkerState::Lost, WorkerState::Superseded];
        let state = known.into_iter().find(|s| s.name() == state);
        Ok(WorkerView {
            id: WorkerId(get(row, "id")?),
            name: get(row, "name")?,
            host: get(row, "host")?,
            state: state.ok_or_else(|| StoreError::corrupt("state of a worker"))?,
            lanes: serde_json::from_str(get(row, "lanes")?).map_err(StoreError::corrupt)?,
            held: count(row, "held")?,
            draining: takes_none(row, policy)?,
            seen_at: time(row, "seen_at")?,
        })
    };
    query(tx.sql.workers).fetch_all(&mut *tx.db).await?.iter().map(worker).collect()
}

/// See [`crate::Store::jobs`].
pub(super) async fn jobs(tx: &mut Tx<'_>, filter: &JobFilter) -> Result<JobPage> {
    let (stage, state) = (filter.stage.as_deref(), filter.state.map(JobState::name));
    let matching = query(tx.sql.jobs_matching)
        .bind(filter.sweep.0)
        .bind(stage)
        .bind(state)
        .fetch_one(&mut *tx.db)
        .await?;
    let rows = query(tx.sql.jobs)
        .bind(filter.sweep.0)
        .bind(stage)
        .bind(state)
        .bind(i64::from(filter.limit))
        .fetch_all(&mut *tx.db)
        .await?;
    let jobs = rows.iter().map(job_view).collect::<Result<_>>()?;
    Ok(JobPage { jobs, matching: count(&matching, "n")? })
}

fn job_view(row: &AnyRow) -> Result<JobView> {
    let task = task(row)?;
    let committed = get::<Option<&str>>(row, "path")?.is_some();
    Ok(JobView {
        id: task.job,
        key: parse(row, "key")?,
        stage: get(row, "stage")?,
        label: get(row, "label")?,
        state: parse(row, "state")?,
        attempt: task.attempt,
        tries_left: small(row, "tries_left")?,
        worker: get(row, "worker")?,
        progress: progress(row)?,
        code: parse_option(row, "error_code")?,
        error: get(row, "error")?,
        artifact: committed.then(|| artifact(row)).transpose()?,
        started_at: time_option(row, "started_at")?,
        finished_at: time_option(row, "finished_at")?,
    })
}

/// See [`crate::Store::states`].
pub(super) async fn states(tx: &mut Tx<'_>, keys: &[JobKey]) -> Result<BTreeMap<JobKey, JobState>> {
    let rows = query(tx.sql.jobs_by_key).bind(named("key", keys)?).fetch_all(&mut *tx.db).await?;
    rows.iter().map(|row| Ok((parse(row, "key")?, parse(row, "state")?))).collect()
}

/// See [`crate::Store::facts`].
pub(super) async fn facts(tx: &mut Tx<'_>) -> Result<Vec<JobFacts>> {
    let mut outcomes = BTreeMap::<i64, BTreeMap<Attempt, Option<Outcome>>>::new();
    for row in query(tx.sql.facts_attempts).fetch_all(&mut *tx.db).await? {
        let attempt = Attempt(small(&row, "attempt")?);
        outcomes.entry(get(&row, "job")?).or_default().insert(attempt, parse_option(&row, "outcome")?);
    }
    let facts = |row| {
        let task = task(row)?;
        Ok(JobFacts {
            id: task.job,
            state: parse(row, "state")?,
            attempt: task.attempt,
            pending_deps: small(row, "pending_deps")?,
            finished_at: time_option(row, "finished_at")?,
            has_worker: get::<i64>(row, "held")? != 0,
            artifacts: small(row, "artifacts")?,
            outcomes: outcomes.remove(&task.job.0).unwrap_or_default(),
        })
    };
    query(tx.sql.facts).fetch_all(&mut *tx.db).await?.iter().map(facts).collect()
}

/// See [`crate::Store::newest`].
pub(super) async fn newest(tx: &mut Tx<'_>, job: JobId) -> Result<Option<Newest>> {
    let row = query(tx.sql.newest).bind(job.0).fetch_optional(&mut *tx.db).await?;
    let newest = |row| {
        Ok(Newest {
            key: parse(row, "key")?,
            attempt: Attempt(small(row, "attempt")?),
            state: parse(row, "state")?,
        })
    };
    row.as_ref().map(newest).transpose()
}

/// See [`crate::Store::artifacts`].
pub(super) async fn artifacts(tx: &mut Tx<'_>, sweep: Option<SweepId>) -> Result<Vec<ArtifactView>> {
    let view = |row| {
        let bytes: Option<i64> = get(row, "bytes")?;
        Ok(ArtifactView {
            task: task(row)?,
            kind: get(row, "kind")?,
            label: get(row, "label")?,
            role: get(row, "role")?,
            artifact: artifact(row)?,
            bytes: bytes.map(|n| u64::try_from(n).map_err(StoreError::corrupt)).transpose()?,
        })
    };
    let rows = query(tx.sql.artifacts).bind(sweep.map(|sweep| sweep.0)).fetch_all(&mut *tx.db).await?;
    rows.iter().map(view).collect()
}

/// See [`crate::Store::totals`].
pub(super) async fn totals(tx: &mut Tx<'_>) -> Result<Totals> {
    let jobs = query(tx.sql.totals_jobs).fetch_all(&mut *tx.db).await?;
    let row = query(tx.sql.totals).fetch_one(&mut *tx.db).await?;
    Ok(Totals {
        jobs: jobs
            .iter()
            .map(|row| Ok((parse(row, "state")?, count(row, "jobs")?)))
            .collect::<Result<_>>()?,
        workers: count(&row, "workers")?,
        lanes: count(&row, "lanes")?,
        busy: count(&row, "busy")?,
        events: count(&row, "events")?,
    })
}

/// See [`crate::Store::events`].
pub(super) async fn events(tx: &mut Tx<'_>, after: i64, limit: u32) -> Result<Vec<EventView>> {
    let event = |row| {
        let attempt = small_option(row, "attempt")?;
        Ok(EventView {
            seq: get(row, "seq")?,
            at: time(row, "at")?,
            sweep: get::<Option<i64>>(row, "sweep")?.map(SweepId),
            job: get::<Option<i64>>(row, "job")?.map(JobId),
            attempt: attempt.map(Attempt),
            kind: get(row, "kind")?,
        })
    };
    let rows = query(tx.sql.events).bind(after).bind(i64::from(limit)).fetch_all(&mut *tx.db).await?;
    rows.iter().map(event).collect()
}
