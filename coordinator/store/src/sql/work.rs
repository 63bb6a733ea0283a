//! Attempts: claimed, checkpointed, committed, failed.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::lease::{AttemptFacts, may_write, stalled_before};
use coordinator_core::offer::{Candidate, FleetFacts, LaneFacts, WINDOW, best, choose, exhausted};
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
use super::row::{artifact, count, get, int, json, named, parse, parse_option, small, small_option, task};
use super::sessions::{AttemptRow, SessionRow, find_attempts, live_among, take_back};
use super::sweeps::{expect_rows, settle_all_with};
use super::upkeep::quotas;
use crate::error::{Result, StoreError};
use crate::model::{Artifact, Claim, Commit, Ending, Input, Offer, RecordedCheckpoint, Stamp};

/// See [`crate::Store::claim`].
pub(super) async fn claim(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    claims: &[Claim],
) -> Result<Vec<Result<Vec<Offer>>>> {
    let sessions = live_among(tx, policy, claims.iter().map(|claim| claim.worker)).await?;
    let fleet = fleet(tx, policy, claims).await?;
    let limits = query(tx.sql.quotas_exist).fetch_one(&mut *tx.db).await?;
    let mut queue = Queue { quotas: count(&limits, "n")? > 0, empty: BTreeSet::new() };
    let mut answers = Vec::with_capacity(claims.len());
    for claim in claims {
        answers.push(match sessions.get(&claim.worker) {
            None => Err(StoreError::SessionLost(claim.worker)),
            Some(SessionRow { takes_none: true, .. }) => Ok(Vec::new()),
            Some(SessionRow { host, .. }) => Ok(claim_one(tx, at, claim, host, fleet, &mut queue).await?),
        });
    }
    Ok(answers)
}

/// What the claims of one transaction have learnt about the queue.
struct Queue {
    /// Whether any owner has a quota.
    quotas: bool,
    /// The fans, `None` for any, of which nothing is left. A thousand lanes that wait are told so by one look.
    empty: BTreeSet<Option<Digest>>,
}

impl Queue {
    /// Whether the rest of a claim can be spared.
    fn has_nothing_for(&self, fan: Option<Digest>) -> bool {
        self.empty.contains(&None) || self.empty.contains(&fan)
    }

    /// Ready jobs for a claim, best first; with `fan`, only of that fan.
    async fn candidates(
        &mut self,
        tx: &mut Tx<'_>,
        excluded: &str,
        fan: Option<Digest>,
        limit: u32,
    ) -> Result<Vec<Candidate>> {
        let found = candidates(tx, excluded, fan, limit).await?;
        if found.is_empty() && !self.quotas {
            self.empty.insert(fan);
        }
        Ok(found)
    }
}

async fn claim_one(
    tx: &mut Tx<'_>,
    at: Stamp,
    claim: &Claim,
    host: &str,
    fleet: FleetFacts,
    queue: &mut Queue,
) -> Result<Vec<Offer>> {
    if queue.has_nothing_for(claim.fan) {
        return Ok(Vec::new());
    }
    let (lane, owners) = lane_facts(tx, claim, host, fleet).await?;
    let excluded = if queue.quotas { excluded(tx, &owners).await? } else { "[]".to_owned() };
    let first = if claim.fan.is_some() { WINDOW } else { 1 };
    let mut ready = queue.candidates(tx, &excluded, claim.fan, first).await?;
    if claim.fan.is_none() {
        if !ready.is_empty() && best(&lane, &ready).is_none() {
            ready = candidates(tx, &excluded, None, WINDOW).await?;
        }
        if let Some(fan) = best(&lane, &ready).and_then(|best| best.fan) {
            ready = candidates(tx, &excluded, Some(fan), WINDOW).await?;
        }
    }
    let chosen = choose(&lane, &ready);
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let rows = query(tx.sql.claim)
        .bind(json(&chosen)?)
        .bind(claim.worker.0)
        .bind(i64::from(claim.lane.0))
        .bind(at.now.0)
        .bind(int(at.term.0))
        .fetch_all(&mut *tx.db)
        .await?;
    let claimed = rows.iter().map(|row| get(row, "id").map(JobId)).collect::<Result<BTreeSet<_>>>()?;
    let claimed: Vec<_> = chosen.into_iter().filter(|job| claimed.contains(job)).collect();
    let jobs = json(&claimed)?;
    let begun = query(tx.sql.attempts_begin)
        .bind(&jobs)
        .bind(at.now.0)
        .bind(int(at.term.0))
        .execute(&mut *tx.db)
        .await?;
    expect_rows(begun.rows_affected(), claimed.len(), "attempt to begin")?;
    offers(tx, &jobs).await
}

/// What competes with some claims: counted only where one would hold jobs ready, and only as far as it matters.
async fn fleet(tx: &mut Tx<'_>, policy: &Policy, claims: &[Claim]) -> Result<FleetFacts> {
    let row = query(tx.sql.lanes_live).bind(i64::from(policy.blame_limit)).fetch_one(&mut *tx.db).await?;
    let (lanes, hosts) = (count(&row, "lanes")?, count(&row, "hosts")?);
    let prefetching = claims.iter().filter(|claim| claim.prefetch > 0);
    let enough = prefetching.map(|c| FleetFacts::enough(lanes, c.free_slots, c.prefetch)).max();
    let ready = match enough {
        None => 0,
        Some(limit) => {
            let row = query(tx.sql.ready_count).bind(int(limit)).fetch_one(&mut *tx.db).await?;
            count(&row, "n")?
        }
    };
    Ok(FleetFacts { lanes, hosts, ready })
}

/// The lane as the decision sees it, and whose jobs it holds.
async fn lane_facts(
    tx: &mut Tx<'_>,
    claim: &Claim,
    host: &str,
    fleet: FleetFacts,
) -> Result<(LaneFacts, Vec<String>)> {
    let rows = query(tx.sql.lane_held)
        .bind(claim.worker.0)
        .bind(i64::from(claim.lane.0))
        .fetch_all(&mut *tx.db)
        .await?;
    let mut lane = LaneFacts {
        fan: claim.fan,
        held: 0,
        group_limit: None,
        free_slots: claim.free_slots,
        prefetch: claim.prefetch,
        host: host.to_owned(),
        fleet,
    };
    let mut owners = Vec::new();
    for row in &rows {
        owners.push(get(row, "owner")?);
        let fan: Option<Digest> = parse_option(row, "fan")?;
        if fan.is_some() && fan == claim.fan {
            lane.held += small(row, "held")?;
            let limit = small_option(row, "group_limit")?;
            lane.group_limit = lane.group_limit.into_iter().chain(limit).min();
        }
    }
    Ok((lane, owners))
}

/// The owners whose jobs a lane may not take, as a list for `candidates`.
async fn excluded(tx: &mut Tx<'_>, in_lane: &[String]) -> Result<String> {
    named("owner", exhausted(&quotas(tx).await?, in_lane))
}

/// Ready jobs, best first; with `fan`, only of that fan.
async fn candidates(
    tx: &mut Tx<'_>,
    excluded: &str,
    fan: Option<Digest>,
    limit: u32,
) -> Result<Vec<Candidate>> {
    let select = match fan {
        Some(fan) => {
            query(tx.sql.candidates_of_fan).bind(i64::from(limit)).bind(excluded).bind(fan.to_string())
        }
        None => query(tx.sql.candidates).bind(i64::from(limit)).bind(excluded),
    };
    let rows = select.fetch_all(&mut *tx.db).await?;
    let candidate = |row| {
        Ok(Candidate {
            job: JobId(get(row, "id")?),
            fan: parse_option(row, "fan")?,
            group_limit: small_option(row, "group_limit")?,
            avoid: get(row, "avoid")?,
        })
    };
    rows.iter().map(candidate).collect()
}

/// Loads what a worker needs to run claimed jobs.
async fn offers(tx: &mut Tx<'_>, jobs: &str) -> Result<Vec<Offer>> {
    let mut inputs = BTreeMap::<i64, Vec<Input>>::new();
    for row in query(tx.sql.offer_inputs).bind(jobs).fetch_all(&mut *tx.db).await? {
        let input = Input { name: get(&row, "name")?, artifact: artifact(&row)? };
        inputs.entry(get(&row, "job")?).or_default().push(input);
    }
    let mut checkpoints = BTreeMap::<i64, RecordedCheckpoint>::new();
    for row in query(tx.sql.offer_checkpoints).bind(jobs).fetch_all(&mut *tx.db).await? {
        let checkpoint = RecordedCheckpoint { step: count(&row, "step")?, artifact: artifact(&row)? };
        checkpoints.insert(get(&row, "job")?, checkpoint);
    }
    let rows = query(tx.sql.offers).bind(jobs).fetch_all(&mut *tx.db).await?;
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
            halvings: small(row, "halvings")?,
            trace: get(row, "trace")?,
        })
    };
    rows.iter().map(offer).collect()
}

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
