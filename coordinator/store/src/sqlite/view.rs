//! What the table shows.

use std::collections::BTreeMap;

use coordinator_core::invariants::JobFacts;
use coordinator_core::sweep::{Counters, Tally};
use proto::id::{Attempt, JobId, JobKey, SweepId, WorkerId};
use proto::state::{JobState, Outcome};
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, query};

use super::queries as q;
use super::row::{artifact, count, get, json, parse, parse_option, progress, small, task, time, time_option};
use crate::error::{Result, StoreError};
use crate::model::{
    EventView, FailureView, HeldView, JobFilter, JobPage, JobView, ResultView, StageView, SweepRow,
    SweepView, WorkerState, WorkerView,
};

/// See [`crate::Store::find_sweep`].
pub(super) async fn find_sweep(tx: &mut SqliteConnection, id_or_name: &str) -> Result<Option<SweepRow>> {
    if let Ok(id) = id_or_name.parse()
        && let Some(row) = sweep_by_id(tx, SweepId(id)).await?
    {
        return Ok(Some(row));
    }
    let row = query(q::SWEEP_BY_NAME).bind(id_or_name).fetch_optional(&mut *tx).await?;
    row.as_ref().map(sweep_row).transpose()
}

async fn sweep_by_id(tx: &mut SqliteConnection, id: SweepId) -> Result<Option<SweepRow>> {
    let row = query(q::SWEEP_BY_ID).bind(id.0).fetch_optional(&mut *tx).await?;
    row.as_ref().map(sweep_row).transpose()
}

/// See [`crate::Store::sweeps`].
pub(super) async fn sweeps(tx: &mut SqliteConnection) -> Result<Vec<SweepRow>> {
    query(q::SWEEPS).fetch_all(&mut *tx).await?.iter().map(sweep_row).collect()
}

fn sweep_row(row: &SqliteRow) -> Result<SweepRow> {
    Ok(SweepRow {
        id: SweepId(get(row, "id")?),
        name: get(row, "name")?,
        state: parse(row, "state")?,
        created_at: time(row, "created_at")?,
        finished_at: time_option(row, "finished_at")?,
    })
}

/// See [`crate::Store::sweep`].
pub(super) async fn sweep(tx: &mut SqliteConnection, id: SweepId) -> Result<Option<SweepView>> {
    let Some(row) = sweep_by_id(tx, id).await? else { return Ok(None) };
    let held = query(q::HELD_OF_SWEEP).bind(id.0).fetch_all(&mut *tx).await?;
    let results = query(q::RESULTS).bind(id.0).fetch_all(&mut *tx).await?;
    let failures = query(q::FAILURES).bind(id.0).bind(SweepView::FAILURES).fetch_all(&mut *tx).await?;
    Ok(Some(SweepView {
        row,
        stages: stages(tx, id).await?,
        held: held.iter().map(held_view).collect::<Result<_>>()?,
        results: results.iter().map(result_view).collect::<Result<_>>()?,
        failures: failures.iter().map(failure_view).collect::<Result<_>>()?,
    }))
}

async fn stages(tx: &mut SqliteConnection, id: SweepId) -> Result<Vec<StageView>> {
    let mut stages: Vec<StageView> = Vec::new();
    for row in query(q::STAGE_COUNTERS).bind(id.0).fetch_all(&mut *tx).await? {
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

fn held_view(row: &SqliteRow) -> Result<HeldView> {
    Ok(HeldView {
        stage: get(row, "stage")?,
        task: task(row)?,
        tokens: count(row, "planned")?,
        progress: progress(row)?,
    })
}

fn result_view(row: &SqliteRow) -> Result<ResultView> {
    Ok(ResultView {
        stage: get(row, "stage")?,
        label: get(row, "label")?,
        role: get(row, "role")?,
        artifact: artifact(row)?,
        metrics: serde_json::from_str(get(row, "metrics")?).map_err(StoreError::corrupt)?,
    })
}

fn failure_view(row: &SqliteRow) -> Result<FailureView> {
    Ok(FailureView {
        job: JobId(get(row, "id")?),
        label: get(row, "label")?,
        stage: get(row, "stage")?,
        code: parse_option(row, "error_code")?,
        message: get::<Option<String>>(row, "error")?.unwrap_or_default(),
    })
}

/// See [`crate::Store::workers`].
pub(super) async fn workers(tx: &mut SqliteConnection) -> Result<Vec<WorkerView>> {
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
            seen_at: time(row, "seen_at")?,
        })
    };
    query(q::WORKERS).fetch_all(&mut *tx).await?.iter().map(worker).collect()
}

/// See [`crate::Store::jobs`].
pub(super) async fn jobs(tx: &mut SqliteConnection, filter: &JobFilter) -> Result<JobPage> {
    let (stage, state) = (filter.stage.as_deref(), filter.state.map(JobState::name));
    let matching =
        query(q::JOBS_MATCHING).bind(filter.sweep.0).bind(stage).bind(state).fetch_one(&mut *tx).await?;
    let rows = query(q::JOBS)
        .bind(filter.sweep.0)
        .bind(stage)
        .bind(state)
        .bind(filter.limit)
        .fetch_all(&mut *tx)
        .await?;
    let jobs = rows.iter().map(job_view).collect::<Result<_>>()?;
    Ok(JobPage { jobs, matching: count(&matching, "n")? })
}

fn job_view(row: &SqliteRow) -> Result<JobView> {
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
pub(super) async fn states(tx: &mut SqliteConnection, keys: &[JobKey]) -> Result<BTreeMap<JobKey, JobState>> {
    let rows = query(q::JOBS_BY_KEY).bind(json(keys)?).fetch_all(&mut *tx).await?;
    rows.iter().map(|row| Ok((parse(row, "key")?, parse(row, "state")?))).collect()
}

/// See [`crate::Store::facts`].
pub(super) async fn facts(tx: &mut SqliteConnection) -> Result<Vec<JobFacts>> {
    let mut outcomes = BTreeMap::<i64, BTreeMap<Attempt, Option<Outcome>>>::new();
    for row in query(q::FACTS_ATTEMPTS).fetch_all(&mut *tx).await? {
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
            has_worker: get(row, "has_worker")?,
            artifacts: small(row, "artifacts")?,
            outcomes: outcomes.remove(&task.job.0).unwrap_or_default(),
        })
    };
    query(q::FACTS).fetch_all(&mut *tx).await?.iter().map(facts).collect()
}

/// See [`crate::Store::events`].
pub(super) async fn events(tx: &mut SqliteConnection) -> Result<Vec<EventView>> {
    let event = |row| {
        let attempt = get::<Option<u32>>(row, "attempt")?;
        Ok(EventView {
            at: time(row, "at")?,
            sweep: get::<Option<i64>>(row, "sweep")?.map(SweepId),
            job: get::<Option<i64>>(row, "job")?.map(JobId),
            attempt: attempt.map(Attempt),
            kind: get(row, "kind")?,
        })
    };
    query(q::EVENTS).fetch_all(&mut *tx).await?.iter().map(event).collect()
}
