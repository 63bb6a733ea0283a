//! Which ready jobs go to which lanes. The claims of one transaction are decided one after another, each from what the ones before it
//! left, and written together: a batch takes as many statements as a single claim.

use std::collections::{BTreeMap, BTreeSet};

use coordinator_core::offer::{Candidate, FleetFacts, LaneFacts, WINDOW, best, choose, exhausted};
use coordinator_core::policy::Policy;
use proto::id::{Digest, JobId, LaneId, WorkerId};
use serde_json::json as object;
use sqlx::query;

use super::Tx;
use super::row::{artifact, count, get, int, json, named, parse, parse_option, small, small_option, task};
use super::sessions::{SessionRow, live_among};
use super::sweeps::expect_rows;
use super::upkeep::quotas;
use crate::error::{Result, StoreError};
use crate::model::{Artifact, Claim, Input, Offer, RecordedCheckpoint, Stamp};

/// Ready jobs of a fan that are read at once at most.
const SUPPLY: u64 = 16 * WINDOW as u64;

/// See [`crate::Store::claim`].
pub(super) async fn claim(
    tx: &mut Tx<'_>,
    at: Stamp,
    policy: &Policy,
    claims: &[Claim],
) -> Result<Vec<Result<Vec<Offer>>>> {
    let sessions = live_among(tx, policy, claims.iter().map(|claim| claim.worker)).await?;
    let limits = query(tx.sql.quotas_exist).fetch_one(&mut *tx.db).await?;
    let mut batch = Batch {
        at,
        fleet: fleet(tx, policy, claims).await?,
        quotas: count(&limits, "n")? > 0,
        wanted: claims.iter().map(wanted).sum(),
        supplies: BTreeMap::new(),
        lanes: lanes_held(tx, claims).await?,
        chosen: Vec::new(),
        taken: BTreeSet::new(),
        offers: BTreeMap::new(),
    };
    let mut chosen = Vec::with_capacity(claims.len());
    for claim in claims {
        chosen.push(match sessions.get(&claim.worker) {
            None => Err(StoreError::SessionLost(claim.worker)),
            Some(SessionRow { takes_none: true, .. }) => Ok(Vec::new()),
            Some(SessionRow { host, .. }) => Ok(batch.decide(tx, claim, host).await?),
        });
        batch.wanted -= wanted(claim);
    }
    batch.write(tx).await?;
    let mut offered =
        |jobs: Vec<JobId>| -> Vec<Offer> { jobs.iter().filter_map(|job| batch.offers.remove(job)).collect() };
    Ok(chosen.into_iter().map(|jobs| jobs.map(&mut offered)).collect())
}

/// How many jobs a claim takes at most.
fn wanted(claim: &Claim) -> u64 {
    u64::from(claim.free_slots) + u64::from(claim.prefetch)
}

/// What competes with some claims: counted only where one would hold jobs ready, and only as far as it matters.
async fn fleet(tx: &mut Tx<'_>, policy: &Policy, claims: &[Claim]) -> Result<FleetFacts> {
    let row = query(tx.sql.lanes_live).bind(i64::from(policy.blame_limit)).fetch_one(&mut *tx.db).await?;
    let (lanes, hosts) = (count(&row, "lanes")?, count(&row, "hosts")?);
    let prefetching = claims.iter().filter(|claim| claim.prefetch > 0);
    let enough = prefetching.map(|c| FleetFacts::enough(lanes, c.free_slots, c.prefetch)).max();
    let ready = match enough {
        None => 0,
        Some(enough) => {
            // What earlier claims of the transaction take comes off.
            let limit = claims.iter().map(wanted).fold(enough, u64::saturating_add);
            let row = query(tx.sql.ready_count).bind(int(limit)).fetch_one(&mut *tx.db).await?;
            count(&row, "n")?
        }
    };
    Ok(FleetFacts { lanes, hosts, ready })
}

/// The claims of one transaction.
struct Batch {
    at: Stamp,
    /// What competes with the next claim.
    fleet: FleetFacts,
    /// Whether any owner has a quota: then who has what changes with each claim, and each is written by itself.
    quotas: bool,
    /// How many jobs the claims that are left take at most.
    wanted: u64,
    /// The fans, `None` for any, of which jobs were read.
    supplies: BTreeMap<Option<Digest>, Supply>,
    /// What the lanes hold.
    lanes: BTreeMap<(WorkerId, LaneId), Vec<HeldRow>>,
    /// What has been decided and is not written yet.
    chosen: Vec<(JobId, WorkerId, LaneId)>,
    /// The jobs of that.
    taken: BTreeSet<JobId>,
    /// What has been written.
    offers: BTreeMap<JobId, Offer>,
}

/// Ready jobs, best first.
#[derive(Default)]
struct Supply {
    left: Vec<Candidate>,
    /// Whether there are no more than these.
    complete: bool,
}

/// Jobs of one owner and fan in a lane.
struct HeldRow {
    owner: String,
    fan: Option<Digest>,
    held: u32,
    group_limit: Option<u32>,
}

impl Batch {
    /// Chooses jobs for a claim.
    async fn decide(&mut self, tx: &mut Tx<'_>, claim: &Claim, host: &str) -> Result<Vec<JobId>> {
        let key = (claim.worker, claim.lane);
        if self.quotas || self.chosen.iter().any(|(_, worker, lane)| (*worker, *lane) == key) {
            self.write(tx).await?;
            let held = lanes_held(tx, std::slice::from_ref(claim)).await?;
            self.lanes.insert(key, held.into_values().next().unwrap_or_default());
        }
        let held = self.lanes.get(&key).map_or(&[][..], Vec::as_slice);
        let lane = lane_facts(claim, host, held, self.fleet);
        let excluded = if self.quotas { excluded(tx, held).await? } else { "[]".to_owned() };
        let jobs = self.choose(tx, &lane, &excluded).await?;
        self.fleet.ready = self.fleet.ready.saturating_sub(jobs.len() as u64);
        self.taken.extend(&jobs);
        self.chosen.extend(jobs.iter().map(|job| (*job, claim.worker, claim.lane)));
        Ok(jobs)
    }

    /// What a lane gets: at first from as few jobs as may do, then from all that the decision looks at.
    async fn choose(&mut self, tx: &mut Tx<'_>, lane: &LaneFacts, excluded: &str) -> Result<Vec<JobId>> {
        let few = lane.free_slots.saturating_add(lane.prefetch).clamp(1, WINDOW);
        let (mut fan, mut look) = (lane.fan, few);
        loop {
            let ready = self.ready(tx, fan, look, excluded).await?;
            let chosen = choose(lane, ready);
            let of = fan.or_else(|| best(lane, ready).and_then(|best| best.fan));
            if chosen.len() >= lane.allowance(of) as usize || (of, look) == (fan, WINDOW) {
                return Ok(chosen);
            }
            (fan, look) = (of, WINDOW);
        }
    }

    /// Ready jobs that nobody has taken, best first: at least `look`, unless there are no more. With `fan`, only of that fan.
    async fn ready(
        &mut self,
        tx: &mut Tx<'_>,
        fan: Option<Digest>,
        look: u32,
        excluded: &str,
    ) -> Result<&[Candidate]> {
        let supply = self.supplies.entry(fan).or_default();
        supply.left.retain(|candidate| !self.taken.contains(&candidate.job));
        if supply.left.len() < look as usize && !supply.complete {
            let limit = self.taken.len() as u64 + self.wanted.clamp(look.into(), SUPPLY);
            supply.left = candidates(tx, excluded, fan, limit).await?;
            supply.complete = (supply.left.len() as u64) < limit;
            supply.left.retain(|candidate| !self.taken.contains(&candidate.job));
        }
        let window = supply.left.len().min(WINDOW as usize);
        Ok(supply.left.get(..window).unwrap_or_default())
    }

    /// Writes what has been decided, and reads what the workers need to run it.
    async fn write(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        let chosen = std::mem::take(&mut self.chosen);
        self.taken.clear();
        self.supplies.clear();
        if chosen.is_empty() {
            return Ok(());
        }
        let row = |(job, worker, lane): &(JobId, WorkerId, LaneId)| object!({ "job": job, "worker": worker, "lane": lane });
        let (now, term) = (self.at.now.0, int(self.at.term.0));
        let rows = query(tx.sql.claim)
            .bind(json(&chosen.iter().map(row).collect::<Vec<_>>())?)
            .bind(now)
            .bind(term)
            .fetch_all(&mut *tx.db)
            .await?;
        let claimed = rows.iter().map(|row| get(row, "id").map(JobId)).collect::<Result<Vec<_>>>()?;
        let jobs = json(&claimed)?;
        let begun =
            query(tx.sql.attempts_begin).bind(&jobs).bind(now).bind(term).execute(&mut *tx.db).await?;
        expect_rows(begun.rows_affected(), claimed.len(), "attempt to begin")?;
        self.offers.extend(offers(tx, &jobs).await?);
        Ok(())
    }
}

/// What the lanes of some claims hold.
async fn lanes_held(tx: &mut Tx<'_>, claims: &[Claim]) -> Result<BTreeMap<(WorkerId, LaneId), Vec<HeldRow>>> {
    let lanes: BTreeSet<_> = claims.iter().map(|claim| (claim.worker, claim.lane)).collect();
    let row = |(worker, lane): (WorkerId, LaneId)| object!({ "worker": worker, "lane": lane });
    let lanes = json(&lanes.into_iter().map(row).collect::<Vec<_>>())?;
    let mut held = BTreeMap::<_, Vec<_>>::new();
    for row in query(tx.sql.lanes_held).bind(lanes).fetch_all(&mut *tx.db).await? {
        let lane = (WorkerId(get(&row, "worker")?), LaneId(small(&row, "lane")?));
        held.entry(lane).or_default().push(HeldRow {
            owner: get(&row, "owner")?,
            fan: parse_option(&row, "fan")?,
            held: small(&row, "held")?,
            group_limit: small_option(&row, "group_limit")?,
        });
    }
    Ok(held)
}

/// The lane as the decision sees it.
fn lane_facts(claim: &Claim, host: &str, held: &[HeldRow], fleet: FleetFacts) -> LaneFacts {
    let in_fan = || held.iter().filter(|row| row.fan.is_some() && row.fan == claim.fan);
    LaneFacts {
        fan: claim.fan,
        held: in_fan().map(|row| row.held).sum(),
        group_limit: in_fan().filter_map(|row| row.group_limit).min(),
        free_slots: claim.free_slots,
        prefetch: claim.prefetch,
        host: host.to_owned(),
        fleet,
    }
}

/// The owners whose jobs a lane that holds some may not take, as a list for `candidates`.
async fn excluded(tx: &mut Tx<'_>, held: &[HeldRow]) -> Result<String> {
    let owners: Vec<_> = held.iter().map(|row| row.owner.clone()).collect();
    named("owner", exhausted(&quotas(tx).await?, &owners))
}

/// Ready jobs, best first; with `fan`, only of that fan.
async fn candidates(
    tx: &mut Tx<'_>,
    excluded: &str,
    fan: Option<Digest>,
    limit: u64,
) -> Result<Vec<Candidate>> {
    let select = match fan {
        Some(fan) => query(tx.sql.candidates_of_fan).bind(int(limit)).bind(excluded).bind(fan.to_string()),
        None => query(tx.sql.candidates).bind(int(limit)).bind(excluded),
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

/// What workers need to run claimed jobs.
async fn offers(tx: &mut Tx<'_>, jobs: &str) -> Result<BTreeMap<JobId, Offer>> {
    let mut inputs = BTreeMap::<i64, BTreeMap<String, Input>>::new();
    for row in query(tx.sql.offer_inputs).bind(jobs).fetch_all(&mut *tx.db).await? {
        let name: String = get(&row, "name")?;
        let input = Input { name: name.clone(), artifact: artifact(&row)? };
        inputs.entry(get(&row, "job")?).or_default().insert(name, input);
    }
    // The one to resume from is the last of its job.
    let mut checkpoints = BTreeMap::<i64, BTreeMap<(u64, u32), Artifact>>::new();
    for row in query(tx.sql.offer_checkpoints).bind(jobs).fetch_all(&mut *tx.db).await? {
        let order = (count(&row, "step")?, small(&row, "attempt")?);
        checkpoints.entry(get(&row, "job")?).or_default().insert(order, artifact(&row)?);
    }
    let rows = query(tx.sql.offers).bind(jobs).fetch_all(&mut *tx.db).await?;
    let offer = |row| {
        let task = task(row)?;
        let offer = Offer {
            task,
            key: parse(row, "key")?,
            kind: get(row, "kind")?,
            label: get(row, "label")?,
            spec: get(row, "spec")?,
            fan: parse_option(row, "fan")?,
            fan_limits: get(row, "fan_limits")?,
            inputs: inputs.remove(&task.job.0).unwrap_or_default().into_values().collect(),
            checkpoint: checkpoints
                .remove(&task.job.0)
                .and_then(|mut of_job| of_job.pop_last())
                .map(|((step, _), artifact)| RecordedCheckpoint { step, artifact }),
            sweep: get::<Option<String>>(row, "sweep")?.unwrap_or_default(),
            halvings: small(row, "halvings")?,
            trace: get(row, "trace")?,
        };
        Ok((task.job, offer))
    };
    rows.iter().map(offer).collect()
}
