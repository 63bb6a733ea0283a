//! Going on without some results.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::waive::{Lack, Waiting, dispensable, key_without};
use proto::id::{JobId, JobKey, SweepId};
use proto::state::SweepState;
use serde_json::json as object;
use sqlx::query;

use super::Tx;
use super::row::{get, int, json, parse, small};
use super::sweeps::{expect_rows, reopen, selected, settle_all_with, sweep_state};
use crate::error::{Result, StoreError};
use crate::model::{Selection, Stamp};

/// See [`crate::Store::waive`].
pub(super) async fn waive(tx: &mut Tx<'_>, at: Stamp, selection: &Selection) -> Result<u64> {
    let state = sweep_state(tx, selection.sweep).await?;
    let chosen: BTreeSet<_> = selected(tx, tx.sql.jobs_waivable, selection).await?;
    if let Some(row) = query(tx.sql.needed).bind(json(&chosen)?).fetch_optional(&mut *tx.db).await? {
        return Err(StoreError::Needed { label: get(&row, "label")?, by: get(&row, "needed_by")? });
    }
    go_on_without(tx, at, &chosen).await?;
    if state == SweepState::Failed && !chosen.is_empty() {
        reopen(tx, at, selection.sweep).await?;
    }
    settle_all_with(tx, at, &chosen).await?;
    Ok(chosen.len() as u64)
}

/// Waives what a sweep in which nothing can move has lost, as far as all that wait for it may go on. Returns what was waived.
pub(super) async fn waive_lost(tx: &mut Tx<'_>, at: Stamp, sweep: SweepId) -> Result<BTreeSet<JobId>> {
    let rows = query(tx.sql.jobs_lost).bind(sweep.0).fetch_all(&mut *tx.db).await?;
    let lost = rows.iter().map(|row| get(row, "id").map(JobId)).collect::<Result<BTreeSet<_>>>()?;
    let mut waiting = BTreeMap::<JobId, Waiting>::new();
    for row in query(tx.sql.waiting).bind(json(&lost)?).fetch_all(&mut *tx.db).await? {
        let job = waiting.entry(JobId(get(&row, "job")?)).or_default();
        job.may_miss = small(&row, "may_miss")?;
        let optional = small(&row, "optional")? == 1;
        job.lacks.push(Lack { job: JobId(get(&row, "needs")?), state: parse(&row, "state")?, optional });
    }
    let waived = dispensable(&lost, &waiting.into_values().collect::<Vec<_>>());
    go_on_without(tx, at, &waived).await?;
    Ok(waived)
}

/// Waives some jobs, takes them out of what others read, gives those keys of their own, and makes ready what waited for nothing else.
async fn go_on_without(tx: &mut Tx<'_>, at: Stamp, waived: &BTreeSet<JobId>) -> Result<()> {
    if waived.is_empty() {
        return Ok(());
    }
    let list = json(waived)?;
    let done =
        query(tx.sql.jobs_waive).bind(&list).bind(at.now.0).bind(int(at.term.0)).execute(&mut *tx.db).await?;
    expect_rows(done.rows_affected(), waived.len(), "job to waive")?;
    let mut keys = Vec::new();
    for row in query(tx.sql.behind).bind(&list).fetch_all(&mut *tx.db).await? {
        let (id, planned) = (JobId(get(&row, "id")?), parse::<JobKey>(&row, "key")?);
        keys.push(object!({ "job": id, "key": key_without(&planned, id) }));
    }
    query(tx.sql.jobs_rename).bind(json(&keys)?).execute(&mut *tx.db).await?;
    query(tx.sql.jobs_go_on).bind(&list).bind(at.now.0).bind(int(at.term.0)).execute(&mut *tx.db).await?;
    query(tx.sql.inputs_drop).bind(&list).execute(&mut *tx.db).await?;
    Ok(())
}
