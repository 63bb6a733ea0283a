//! What operators keep in order, and what they ask.

use coordinator_core::explain::{Holder, Situation};
use coordinator_core::offer::{FleetFacts, Quota};
use coordinator_core::policy::Policy;
use coordinator_core::time::Micros;
use proto::id::{Digest, JobId};
use proto::state::JobState;
use sqlx::query;

use super::Tx;
use super::row::{artifact, count, get, int, named, parse, parse_option, small, time, time_option};
use crate::error::{Result, StoreError};
use crate::model::{Artifact, Bearer, NewToken, Stamp, TokenView};

/// See [`crate::Store::set_quota`].
pub(super) async fn set_quota(tx: &mut Tx<'_>, owner: &str, max_lanes: Option<u64>) -> Result<()> {
    let done = match max_lanes {
        Some(lanes) => query(tx.sql.quota_set).bind(owner).bind(int(lanes)).execute(&mut *tx.db).await?,
        None => query(tx.sql.quota_lift).bind(owner).execute(&mut *tx.db).await?,
    };
    tracing::debug!(owner, changed = done.rows_affected(), "quota");
    Ok(())
}

/// See [`crate::Store::quotas`].
pub(super) async fn quotas(tx: &mut Tx<'_>) -> Result<Vec<Quota>> {
    let quota = |row| {
        let (max_lanes, used) = (count(row, "max_lanes")?, count(row, "used")?);
        Ok(Quota { owner: get(row, "owner")?, max_lanes, used })
    };
    query(tx.sql.quotas).fetch_all(&mut *tx.db).await?.iter().map(quota).collect()
}

/// See [`crate::Store::condemn`].
pub(super) async fn condemn(tx: &mut Tx<'_>, at: Stamp, digests: &[Digest]) -> Result<()> {
    let digests = named("digest", digests)?;
    query(tx.sql.condemn).bind(digests).bind(int(at.term.0)).bind(at.now.0).execute(&mut *tx.db).await?;
    Ok(())
}

/// See [`crate::Store::absolve`].
pub(super) async fn absolve(tx: &mut Tx<'_>, digests: &[Digest]) -> Result<()> {
    query(tx.sql.absolve).bind(named("digest", digests)?).execute(&mut *tx.db).await?;
    Ok(())
}

/// See [`crate::Store::absolve_before`].
pub(super) async fn absolve_before(tx: &mut Tx<'_>, before: Micros) -> Result<u64> {
    Ok(query(tx.sql.absolve_before).bind(before.0).execute(&mut *tx.db).await?.rows_affected())
}

/// See [`crate::Store::condemned`].
pub(super) async fn condemned(tx: &mut Tx<'_>) -> Result<Vec<Digest>> {
    let rows = query(tx.sql.condemned).fetch_all(&mut *tx.db).await?;
    rows.iter().map(|row| parse(row, "digest")).collect()
}

/// See [`crate::Store::roots`].
pub(super) async fn roots(tx: &mut Tx<'_>) -> Result<Vec<Artifact>> {
    query(tx.sql.roots).fetch_all(&mut *tx.db).await?.iter().map(artifact).collect()
}

/// See [`crate::Store::create_token`].
pub(super) async fn create_token(tx: &mut Tx<'_>, at: Stamp, token: &NewToken) -> Result<()> {
    let done = query(tx.sql.token_insert)
        .bind(&token.name)
        .bind(token.role.name())
        .bind(token.hash.to_string())
        .bind(at.now.0)
        .execute(&mut *tx.db)
        .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Taken(token.name.clone())) }
}

/// See [`crate::Store::revoke_token`].
pub(super) async fn revoke_token(tx: &mut Tx<'_>, at: Stamp, name: &str) -> Result<bool> {
    let done = query(tx.sql.token_revoke).bind(name).bind(at.now.0).execute(&mut *tx.db).await?;
    Ok(done.rows_affected() > 0)
}

/// See [`crate::Store::tokens`].
pub(super) async fn tokens(tx: &mut Tx<'_>) -> Result<Vec<TokenView>> {
    let token = |row| {
        Ok(TokenView {
            name: get(row, "name")?,
            role: parse(row, "role")?,
            created_at: time(row, "created_at")?,
            revoked_at: time_option(row, "revoked_at")?,
        })
    };
    query(tx.sql.tokens).fetch_all(&mut *tx.db).await?.iter().map(token).collect()
}

/// See [`crate::Store::bearer`].
pub(super) async fn bearer(tx: &mut Tx<'_>, hash: Digest) -> Result<Option<Bearer>> {
    let row = query(tx.sql.token_bearer).bind(hash.to_string()).fetch_optional(&mut *tx.db).await?;
    row.map(|row| Ok(Bearer { name: get(&row, "name")?, role: parse(&row, "role")? })).transpose()
}

/// See [`crate::Store::situation`].
pub(super) async fn situation(tx: &mut Tx<'_>, policy: &Policy, job: JobId) -> Result<Option<Situation>> {
    let Some(row) = query(tx.sql.situation).bind(job.0).fetch_optional(&mut *tx.db).await? else {
        return Ok(None);
    };
    let state: JobState = parse(&row, "state")?;
    let mut needs = Vec::new();
    for need in query(tx.sql.situation_needs).bind(job.0).fetch_all(&mut *tx.db).await? {
        needs.push((get(&need, "label")?, parse(&need, "state")?));
    }
    let ahead = query(tx.sql.situation_ahead)
        .bind(get::<i64>(&row, "priority")?)
        .bind(get::<i64>(&row, "coverage")?)
        .bind(get::<i64>(&row, "tokens")?)
        .bind(job.0)
        .fetch_one(&mut *tx.db)
        .await?;
    let owner: String = get(&row, "owner")?;
    let live = query(tx.sql.lanes_live).bind(i64::from(policy.blame_limit)).fetch_one(&mut *tx.db).await?;
    let ahead = count(&ahead, "n")?;
    let code = parse_option(&row, "error_code")?;
    Ok(Some(Situation {
        label: get(&row, "label")?,
        state,
        tries_left: small(&row, "tries_left")?,
        not_before: time_option(&row, "not_before")?,
        needs,
        pending_deps: small(&row, "pending_deps")?,
        ahead,
        avoid: get(&row, "avoid")?,
        quota: quotas(tx).await?.into_iter().find(|quota| quota.owner == owner),
        holder: match get::<Option<String>>(&row, "worker")? {
            None => None,
            Some(worker) => {
                let since = time(&row, "started_at")?;
                let progress_at = time_option(&row, "progress_at")?.unwrap_or(since);
                Some(Holder { worker, since, progress_at })
            }
        },
        error: code.zip(get(&row, "error")?),
        fleet: FleetFacts { lanes: count(&live, "lanes")?, hosts: count(&live, "hosts")?, ready: ahead },
    }))
}
