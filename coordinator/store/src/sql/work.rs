//! Attempts: checkpointed, committed, failed.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::lease::{AttemptFacts, may_write, stalled_before};
use coordinator_core::policy::Policy;
use coordinator_core::retry::{Failure, on_failure};
use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use proto::error::ErrorCode;
use proto::id::{Digest, JobId, WorkerId};
use proto::pipe::Task;
use proto::state::Outcome;
use serde_json::json as object;
use sqlx::query;

use super::Tx;
use super::row::{artifact, get, int, json, named, parse, small, task};
use super::sessions::{AttemptRow, SessionRow, find_attempts, live_among, take_back};
use super::sweeps::{expect_rows, settle_all_with};
use crate::error::{Result, StoreError};
use crate::model::{Artifact, Commit, Ending, RecordedCheckpoint, Stamp};

/// Finds an attempt that may write on behalf of a live session.
async fn writable(tx: &mut Tx<'_>, policy: &Policy, worker: WorkerId, task: Task) -> Result<AttemptRow> {
    if live_among(tx, policy, [worker]).await?.is_empty() {
        return Err(StoreError::SessionLost(worker));
    }
    match find_attempts(tx, [task]).await?.remove(&task) {
        Some(row) if may_write(task.attempt, &row.facts(worker)) => Ok(row),
        _ => Err(StoreError::StaleAttempt(task)),
    }
}

/// See [`crate::Store::record_progress`].
pub(super) async fn record_progress(tx: &mut Tx<'_>, at: Stamp, progress: &[(Task, Progress)]) -> Result<()> {
    let row = |(task, p): &(Task, Progress)| {
        object!({
            "job": task.job, "attempt": task.attempt, "step": int(p.step), "total": int(p.total),
            "tokens": int(p.tokens), "loss": p.loss,
        })
    };
    let rows: Vec<_> = progress.iter().map(row).collect();
    query(tx.sql.progress).bind(json(&rows)?).bind(at.now.0).execute(&mut *tx.db).await?;
    Ok(())
}

/// See [`crate::Store::checkpoint`].
pub(super) async fn checkpoint(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    worker: WorkerId,
    task: Task,
    checkpoint: &RecordedCheckpoint,
    blobs: &[Digest],
) -> Result<()> {
    writable(tx, policy, worker, task).await?;
    let named = blobs.iter().copied().chain([checkpoint.artifact.digest]);
    if let Some(digest) = condemned(tx, named).await?.first() {
        return Err(StoreError::Condemned(*digest));
    }
    query(tx.sql.checkpoint_insert)
        .bind(task.job.0)
        .bind(int(checkpoint.step))
        .bind(i64::from(task.attempt.0))
        .bind(&checkpoint.artifact.path)
        .bind(checkpoint.artifact.digest.to_string())
        .bind(at.now.0)
        .execute(&mut *tx.db)
        .await?;
    query(tx.sql.checkpoints_thin).bind(task.job.0).execute(&mut *tx.db).await?;
    Ok(())
}

/// Which of some blobs are about to be deleted.
async fn condemned(tx: &mut Tx<'_>, blobs: impl Iterator<Item = Digest>) -> Result<BTreeSet<Digest>> {
    let blobs: BTreeSet<_> = blobs.collect();
    if blobs.is_empty() {
        return Ok(blobs);
    }
    let rows = query(tx.sql.condemned_among).bind(named("digest", &blobs)?).fetch_all(&mut *tx.db).await?;
    rows.iter().map(|row| parse(row, "digest")).collect()
}

/// See [`crate::Store::complete`].
pub(super) async fn complete(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    commits: &[Commit],
) -> Result<Vec<Result<Artifact>>> {
    let jobs: BTreeSet<_> = commits.iter().map(|commit| commit.task.job).collect();
    let mut won = committed(tx, &jobs).await?;
    let live = live_among(tx, policy, commits.iter().map(|commit| commit.worker)).await?;
    let attempts = find_attempts(tx, commits.iter().map(|commit| commit.task)).await?;
    let named = commits.iter().flat_map(|commit| commit.completion.digests());
    let condemned = condemned(tx, named).await?;
    let mut accepted = Vec::new();
    let mut answers = Vec::with_capacity(commits.len());
    for commit in commits {
        let Commit { worker, task, completion } = commit;
        answers.push(if let Some(winner) = won.get(&task.job) {
            Ok(winner.clone())
        } else if !live.contains_key(worker) {
            Err(StoreError::SessionLost(*worker))
        } else if !attempts.get(task).is_some_and(|row| may_write(task.attempt, &row.facts(*worker))) {
            Err(StoreError::StaleAttempt(*task))
        } else if let Some(digest) = completion.digests().find(|digest| condemned.contains(digest)) {
            Err(StoreError::Condemned(digest))
        } else {
            won.insert(task.job, completion.artifact.clone());
            accepted.push(commit);
            Ok(completion.artifact.clone())
        });
    }
    if !accepted.is_empty() {
        record(tx, at, &accepted).await?;
        blame(tx, &accepted, &attempts, &live).await?;
    }
    Ok(answers)
}

/// What some jobs have committed.
async fn committed(tx: &mut Tx<'_>, jobs: &BTreeSet<JobId>) -> Result<BTreeMap<JobId, Artifact>> {
    let rows = query(tx.sql.job_artifacts).bind(json(jobs)?).fetch_all(&mut *tx.db).await?;
    rows.iter().map(|row| Ok((JobId(get(row, "id")?), artifact(row)?))).collect()
}

/// Writes results down and makes what only waited for them ready.
async fn record(tx: &mut Tx<'_>, at: Stamp, commits: &[&Commit]) -> Result<()> {
    let row = |Commit { worker, task, completion }: &Commit| {
        object!({
            "job": task.job, "attempt": task.attempt, "worker": worker, "role": completion.role,
            "path": completion.artifact.path, "digest": completion.artifact.digest, "bytes": int(completion.bytes),
            "metrics": completion.metrics.to_string(), "device_ms": int(completion.device_ms),
        })
    };
    let rows = json(&commits.iter().map(|commit| row(commit)).collect::<Vec<_>>())?;
    let done = query(tx.sql.jobs_succeed)
        .bind(&rows)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx.db)
        .await?;
    expect_rows(done.rows_affected(), commits.len(), "held job to commit")?;
    query(tx.sql.artifacts_insert).bind(&rows).bind(at.now.0).execute(&mut *tx.db).await?;
    let ended = query(tx.sql.attempts_commit).bind(&rows).bind(at.now.0).execute(&mut *tx.db).await?;
    expect_rows(ended.rows_affected(), commits.len(), "living attempt to commit")?;
    let jobs: BTreeSet<_> = commits.iter().map(|commit| commit.task.job).collect();
    query(tx.sql.needs_met)
        .bind(json(&jobs)?)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx.db)
        .await?;
    query(tx.sql.checkpoints_drop).bind(json(&jobs)?).execute(&mut *tx.db).await?;
    settle_all_with(tx, at, &jobs).await
}

/// Notes the machines on which jobs had failed that have now succeeded on another.
async fn blame(
    tx: &mut Tx<'_>,
    commits: &[&Commit],
    attempts: &BTreeMap<Task, AttemptRow>,
    sessions: &BTreeMap<WorkerId, SessionRow>,
) -> Result<()> {
    let culprit = |commit: &&Commit| {
        let avoided = attempts.get(&commit.task)?.avoid.as_ref()?;
        (sessions.get(&commit.worker)?.host != *avoided).then_some(avoided)
    };
    let mut times = BTreeMap::<&String, i64>::new();
    for host in commits.iter().filter_map(culprit) {
        *times.entry(host).or_default() += 1;
    }
    if times.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> =
        times.into_iter().map(|(host, times)| object!({ "host": host, "times": times })).collect();
    query(tx.sql.workers_blame).bind(json(&rows)?).execute(&mut *tx.db).await?;
    Ok(())
}

/// See [`crate::Store::fail`].
pub(super) async fn fail(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    worker: WorkerId,
    task: Task,
    ending: &Ending,
) -> Result<()> {
    if let Some(row) = find_attempts(tx, [task]).await?.get(&task)
        && let AttemptFacts { own: true, outcome, .. } = row.facts(worker)
        && matches!(outcome, Some(Outcome::Failed | Outcome::Collateral | Outcome::Released))
    {
        return Ok(());
    }
    let row = writable(tx, policy, worker, task).await?;
    match ending {
        Ending::Released => take_back(tx, at, &[task], Outcome::Released).await,
        Ending::Failed { code, message } => end_failed(tx, at, policy, &row, *code, message).await,
    }
}

/// See [`crate::Store::stall`].
pub(super) async fn stall(tx: &mut Tx<'_>, at: Stamp, policy: &Policy, serving_since: Micros) -> Result<u64> {
    let Some(before) = stalled_before(serving_since, policy, at.now) else { return Ok(0) };
    let rows = query(tx.sql.stalled).bind(before.0).fetch_all(&mut *tx.db).await?;
    let stalled = rows.iter().map(task).collect::<Result<Vec<_>>>()?;
    let attempts = find_attempts(tx, stalled).await?;
    for row in attempts.values() {
        let message = format!("no progress for {} s", policy.stall_after.as_secs());
        end_failed(tx, at, policy, row, ErrorCode::Stalled, &message).await?;
    }
    Ok(attempts.len() as u64)
}

/// Carries out what [`on_failure`] decides.
async fn end_failed(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    attempt: &AttemptRow,
    code: ErrorCode,
    message: &str,
) -> Result<()> {
    let AttemptRow { task, worker, tries_left, group_limit, halvings, .. } = *attempt;
    let row = query(tx.sql.siblings)
        .bind(worker.0)
        .bind(i64::from(attempt.lane.0))
        .bind(attempt.fan.as_deref())
        .bind(task.job.0)
        .bind(attempt.started_at.0)
        .fetch_one(&mut *tx.db)
        .await?;
    let failure = Failure { code, tries_left, neighbours: small(&row, "n")?, group_limit, halvings };
    let after = on_failure(&failure, policy, at.now);
    let avoid = if after.avoid_machine { Some(host_of(tx, worker).await?) } else { attempt.avoid.clone() };
    let done = query(tx.sql.job_fail)
        .bind(task.job.0)
        .bind(i64::from(task.attempt.0))
        .bind(worker.0)
        .bind(after.state.name())
        .bind(i64::from(after.tries_left))
        .bind(after.group_limit.map(i64::from))
        .bind(after.not_before.map(|time| time.0))
        .bind(code.name())
        .bind(message)
        .bind(after.state.is_terminal().then_some(at.now.0))
        .bind(at.now.0)
        .bind(int(at.term.0))
        .bind(i64::from(after.halvings))
        .bind(avoid)
        .execute(&mut *tx.db)
        .await?;
    expect_rows(done.rows_affected(), 1, "held job to fail")?;
    let ended = query(tx.sql.attempts_end)
        .bind(json(&[task.job])?)
        .bind(at.now.0)
        .bind(after.outcome.name())
        .bind(code.name())
        .execute(&mut *tx.db)
        .await?;
    expect_rows(ended.rows_affected(), 1, "living attempt to fail")?;
    if after.discard_checkpoint {
        query(tx.sql.checkpoint_discard).bind(task.job.0).execute(&mut *tx.db).await?;
    }
    if after.state.is_terminal() {
        settle_all_with(tx, at, &BTreeSet::from([task.job])).await
    } else {
        Ok(())
    }
}

/// The machine of a session.
async fn host_of(tx: &mut Tx<'_>, worker: WorkerId) -> Result<String> {
    let row = query(tx.sql.worker_host).bind(worker.0).fetch_one(&mut *tx.db).await?;
    get(&row, "host")
}

/// See [`crate::Store::promote`].
pub(super) async fn promote(tx: &mut Tx<'_>, at: Stamp) -> Result<u64> {
    Ok(query(tx.sql.promote).bind(at.now.0).bind(int(at.term.0)).execute(&mut *tx.db).await?.rows_affected())
}
