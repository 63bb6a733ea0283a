//! Attempts: claimed, checkpointed, committed, failed.

use std::collections::BTreeMap;

use coordinator_core::lease::may_write;
use coordinator_core::offer::{Candidate, LaneFacts, WINDOW, choose};
use coordinator_core::policy::Policy;
use coordinator_core::retry::{Failure, on_failure};
use coordinator_core::sweep::Progress;
use proto::error::ErrorCode;
use proto::id::{JobId, WorkerId};
use proto::pipe::Task;
use proto::state::Outcome;
use sqlx::{SqliteConnection, query};

use super::queries as q;
use super::row::{artifact, count, get, int, json, parse, parse_option, small, small_option, task};
use super::sessions::{AttemptRow, find_attempt, require_session, take_back};
use super::sweeps::{expect_rows, settle_all_with};
use crate::error::{Result, StoreError};
use crate::model::{Artifact, Claim, Completion, Ending, Input, Offer, RecordedCheckpoint, Stamp};

/// See [`crate::Store::claim`].
pub(super) async fn claim(tx: &mut SqliteConnection, at: Stamp, claim: &Claim) -> Result<Vec<Offer>> {
    require_session(tx, claim.worker).await?;
    let lane = lane_facts(tx, claim).await?;
    let mut candidates = candidates(tx, claim.fan.map(|fan| fan.to_string())).await?;
    if let (None, Some(Candidate { fan: Some(fan), .. })) = (claim.fan, candidates.first()) {
        candidates = self::candidates(tx, Some(fan.to_string())).await?;
    }
    let chosen = choose(&lane, &candidates);
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let jobs = json(&chosen)?;
    let claimed = query(q::CLAIM)
        .bind(&jobs)
        .bind(claim.worker.0)
        .bind(claim.lane.0)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx)
        .await?;
    expect_rows(claimed.rows_affected(), chosen.len(), "ready job to claim")?;
    query(q::ATTEMPTS_BEGIN).bind(&jobs).bind(at.now.0).bind(int(at.term.0)).execute(&mut *tx).await?;
    offers(tx, &jobs).await
}

async fn lane_facts(tx: &mut SqliteConnection, claim: &Claim) -> Result<LaneFacts> {
    let idle = LaneFacts { fan: claim.fan, held: 0, group_limit: None, free_slots: claim.free_slots };
    let Some(fan) = claim.fan else { return Ok(idle) };
    let row = query(q::LANE_HELD)
        .bind(claim.worker.0)
        .bind(claim.lane.0)
        .bind(fan.to_string())
        .fetch_one(&mut *tx)
        .await?;
    Ok(LaneFacts { held: small(&row, "held")?, group_limit: small_option(&row, "group_limit")?, ..idle })
}

/// Ready jobs, best first; with `fan`, only of that fan.
async fn candidates(tx: &mut SqliteConnection, fan: Option<String>) -> Result<Vec<Candidate>> {
    let select = match fan {
        Some(fan) => query(q::CANDIDATES_OF_FAN).bind(WINDOW).bind(fan),
        None => query(q::CANDIDATES).bind(1),
    };
    let rows = select.fetch_all(&mut *tx).await?;
    let candidate = |row| {
        Ok(Candidate {
            job: JobId(get(row, "id")?),
            fan: parse_option(row, "fan")?,
            group_limit: small_option(row, "group_limit")?,
        })
    };
    rows.iter().map(candidate).collect()
}

/// Loads what a worker needs to run claimed jobs.
async fn offers(tx: &mut SqliteConnection, jobs: &str) -> Result<Vec<Offer>> {
    let mut inputs = BTreeMap::<i64, Vec<Input>>::new();
    for row in query(q::OFFER_INPUTS).bind(jobs).fetch_all(&mut *tx).await? {
        let input = Input { name: get(&row, "name")?, artifact: artifact(&row)? };
        inputs.entry(get(&row, "job")?).or_default().push(input);
    }
    let mut checkpoints = BTreeMap::<i64, RecordedCheckpoint>::new();
    for row in query(q::OFFER_CHECKPOINTS).bind(jobs).fetch_all(&mut *tx).await? {
        let checkpoint = RecordedCheckpoint { step: count(&row, "step")?, artifact: artifact(&row)? };
        checkpoints.insert(get(&row, "job")?, checkpoint);
    }
    let rows = query(q::OFFERS).bind(jobs).fetch_all(&mut *tx).await?;
    let offer = |row| {
        let task = task(row)?;
        Ok(Offer {
            task,
            key: parse(row, "key")?,
            kind: get(row, "kind")?,
            label: get(row, "label")?,
            spec: get(row, "spec")?,
            fan: parse_option(row, "fan")?,
            fan_limits: get(row, "fan_limits")?,
            inputs: inputs.remove(&task.job.0).unwrap_or_default(),
            checkpoint: checkpoints.remove(&task.job.0),
            sweep: get::<Option<String>>(row, "sweep")?.unwrap_or_default(),
        })
    };
    rows.iter().map(offer).collect()
}

/// Finds an attempt that may write on behalf of a live session.
async fn writable(tx: &mut SqliteConnection, worker: WorkerId, task: Task) -> Result<AttemptRow> {
    require_session(tx, worker).await?;
    match find_attempt(tx, worker, task).await? {
        Some(row) if may_write(task.attempt, &row.facts) => Ok(row),
        _ => Err(StoreError::StaleAttempt(task)),
    }
}

/// See [`crate::Store::record_progress`].
pub(super) async fn record_progress(tx: &mut SqliteConnection, progress: &[(Task, Progress)]) -> Result<()> {
    for (task, progress) in progress {
        query(q::PROGRESS)
            .bind(task.job.0)
            .bind(task.attempt.0)
            .bind(int(progress.step))
            .bind(int(progress.total))
            .bind(int(progress.tokens))
            .bind(progress.loss)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// See [`crate::Store::checkpoint`].
pub(super) async fn checkpoint(
    tx: &mut SqliteConnection,
    at: Stamp,
    worker: WorkerId,
    task: Task,
    checkpoint: &RecordedCheckpoint,
) -> Result<()> {
    writable(tx, worker, task).await?;
    query(q::CHECKPOINT_INSERT)
        .bind(task.job.0)
        .bind(int(checkpoint.step))
        .bind(task.attempt.0)
        .bind(&checkpoint.artifact.path)
        .bind(checkpoint.artifact.digest.to_string())
        .bind(at.now.0)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// See [`crate::Store::complete`].
pub(super) async fn complete(
    tx: &mut SqliteConnection,
    at: Stamp,
    worker: WorkerId,
    task: Task,
    completion: &Completion,
) -> Result<Artifact> {
    if let Some(row) = query(q::JOB_ARTIFACT).bind(task.job.0).fetch_optional(&mut *tx).await? {
        return artifact(&row);
    }
    writable(tx, worker, task).await?;
    let done = query(q::JOB_SUCCEED)
        .bind(task.job.0)
        .bind(task.attempt.0)
        .bind(worker.0)
        .bind(int(completion.device_ms))
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx)
        .await?;
    expect_rows(done.rows_affected(), 1, "held job to commit")?;
    query(q::ARTIFACT_INSERT)
        .bind(task.job.0)
        .bind(&completion.role)
        .bind(task.attempt.0)
        .bind(&completion.artifact.path)
        .bind(completion.artifact.digest.to_string())
        .bind(int(completion.bytes))
        .bind(json(&completion.metrics)?)
        .bind(at.now.0)
        .execute(&mut *tx)
        .await?;
    let attempt = query(q::ATTEMPT_COMMIT)
        .bind(task.job.0)
        .bind(task.attempt.0)
        .bind(at.now.0)
        .bind(int(completion.device_ms))
        .execute(&mut *tx)
        .await?;
    expect_rows(attempt.rows_affected(), 1, "living attempt to commit")?;
    query(q::NEEDS_MET).bind(task.job.0).bind(at.now.0).bind(int(at.term.0)).execute(&mut *tx).await?;
    settle_all_with(tx, at, task.job).await?;
    Ok(completion.artifact.clone())
}

/// See [`crate::Store::fail`].
pub(super) async fn fail(
    tx: &mut SqliteConnection,
    at: Stamp,
    policy: &Policy,
    worker: WorkerId,
    task: Task,
    ending: &Ending,
) -> Result<()> {
    if let Some(AttemptRow { facts, .. }) = find_attempt(tx, worker, task).await?
        && matches!(facts.outcome, Some(Outcome::Failed | Outcome::Collateral | Outcome::Released))
        && facts.own
    {
        return Ok(());
    }
    let row = writable(tx, worker, task).await?;
    match ending {
        Ending::Released => take_back(tx, at, &[task], Outcome::Released).await,
        Ending::Failed { code, message } => end_failed(tx, at, policy, &row, *code, message).await,
    }
}

/// Carries out what [`on_failure`] decides.
async fn end_failed(
    tx: &mut SqliteConnection,
    at: Stamp,
    policy: &Policy,
    attempt: &AttemptRow,
    code: ErrorCode,
    message: &str,
) -> Result<()> {
    let AttemptRow { task, worker, tries_left, group_limit, .. } = *attempt;
    let row = query(q::SIBLINGS)
        .bind(worker.0)
        .bind(attempt.lane.0)
        .bind(&attempt.fan)
        .bind(task.job.0)
        .bind(attempt.started_at.0)
        .fetch_one(&mut *tx)
        .await?;
    let failure = Failure { code, tries_left, neighbours: small(&row, "n")?, group_limit };
    let after = on_failure(&failure, policy, at.now);
    let state = after.state();
    let done = query(q::JOB_FAIL)
        .bind(task.job.0)
        .bind(task.attempt.0)
        .bind(worker.0)
        .bind(state.name())
        .bind(after.tries_left(&failure))
        .bind(after.group_limit(&failure))
        .bind(after.not_before().map(|time| time.0))
        .bind(code.name())
        .bind(message)
        .bind(state.is_terminal().then_some(at.now.0))
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx)
        .await?;
    expect_rows(done.rows_affected(), 1, "held job to fail")?;
    let ended = query(q::ATTEMPTS_END)
        .bind(json(&[task.job])?)
        .bind(at.now.0)
        .bind(after.outcome().name())
        .bind(code.name())
        .execute(&mut *tx)
        .await?;
    expect_rows(ended.rows_affected(), 1, "living attempt to fail")?;
    if state.is_terminal() { settle_all_with(tx, at, task.job).await } else { Ok(()) }
}

/// See [`crate::Store::promote`].
pub(super) async fn promote(tx: &mut SqliteConnection, at: Stamp) -> Result<u64> {
    Ok(query(q::PROMOTE).bind(at.now.0).bind(int(at.term.0)).execute(&mut *tx).await?.rows_affected())
}
