//! Which ready jobs a lane is offered.

use proto::id::{Digest, JobId};

/// How many ready jobs, best first, a decision looks at. Jobs beyond it wait for the next call.
pub const WINDOW: u32 = 256;

/// A ready job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The job.
    pub job: JobId,
    /// Jobs with equal fans may share a lane; a job without one runs alone.
    pub fan: Option<Digest>,
    /// How many jobs a process with this one may hold; none while it never saw one die.
    pub group_limit: Option<u32>,
    /// The machine where it failed last, by a fault that may be the machine's.
    pub avoid: Option<String>,
}

/// The lane that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneFacts {
    /// The fan that runs in it, or that it wants to hold ready; none when it takes any.
    pub fan: Option<Digest>,
    /// Jobs of that fan that it holds.
    pub held: u32,
    /// The smallest group limit among them.
    pub group_limit: Option<u32>,
    /// Further jobs it can start.
    pub free_slots: u32,
    /// Further jobs that the worker would hold ready for it.
    pub prefetch: u32,
    /// Its machine.
    pub host: String,
    /// What the rest of the fleet could take.
    pub fleet: FleetFacts,
}

/// What competes with a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetFacts {
    /// Lanes that take jobs, this one included.
    pub lanes: u64,
    /// Machines that they are on.
    pub hosts: u64,
    /// Ready jobs, as far as counted.
    pub ready: u64,
}

impl FleetFacts {
    /// Beyond how many ready jobs it makes no difference to `claim` how many there are.
    pub fn enough(lanes: u64, free_slots: u32, prefetch: u32) -> u64 {
        lanes.saturating_add(u64::from(free_slots)).saturating_add(u64::from(prefetch))
    }
}

impl LaneFacts {
    /// Whether a job had better wait for another machine.
    fn avoids(&self, candidate: &Candidate) -> bool {
        self.fleet.hosts > 1 && candidate.avoid.as_ref() == Some(&self.host)
    }

    /// How many jobs of a fan it gets at most: what it can start, and of what it would hold ready only as much as the other lanes could
    /// not start at once. A job without a fan comes alone.
    pub fn allowance(&self, fan: Option<Digest>) -> u32 {
        let others = self.fleet.lanes.saturating_sub(1);
        let spare = self.fleet.ready.saturating_sub(others).saturating_sub(u64::from(self.free_slots));
        let most =
            self.free_slots.saturating_add(self.prefetch.min(u32::try_from(spare).unwrap_or(u32::MAX)));
        if fan.is_some() { most } else { most.min(1) }
    }
}

/// The first of some candidates that a lane may take.
pub fn best<'a>(lane: &LaneFacts, candidates: &'a [Candidate]) -> Option<&'a Candidate> {
    candidates.iter().find(|candidate| !lane.avoids(candidate))
}

/// Chooses jobs for a lane from candidates that come best first: by priority, then the first tools of their categories, then longest
/// first. A lane without a fan takes the best job and, if that has a fan, fills up from the same fan. A lane with a fan takes that fan
/// only. No group grows beyond the limit of any of its jobs.
pub fn choose(lane: &LaneFacts, candidates: &[Candidate]) -> Vec<JobId> {
    let fan = match (lane.fan, best(lane, candidates)) {
        (_, None) => return Vec::new(),
        (Some(fan), _) => Some(fan),
        (None, Some(best)) => best.fan,
    };
    let (mut size, mut limit) = match lane.fan {
        Some(_) => (lane.held, lane.group_limit.unwrap_or(u32::MAX)),
        None => (0, u32::MAX),
    };
    let allowance = lane.allowance(fan);
    let mut chosen = Vec::new();
    for candidate in candidates.iter().filter(|c| c.fan == fan && !lane.avoids(c)) {
        if chosen.len() >= allowance as usize {
            break;
        }
        let narrowed = limit.min(candidate.group_limit.unwrap_or(u32::MAX));
        if size < narrowed {
            size += 1;
            limit = narrowed;
            chosen.push(candidate.job);
        }
    }
    chosen
}

/// How many lanes an owner may have, and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The owner.
    pub owner: String,
    /// Lanes that hold a job of his, at most.
    pub max_lanes: u64,
    /// Lanes that hold one.
    pub used: u64,
}

/// The owners whose jobs a lane may not take: those who have all lanes that they may, unless this lane is one of them.
pub fn exhausted<'a>(quotas: &'a [Quota], in_lane: &[String]) -> Vec<&'a str> {
    let full = quotas.iter().filter(|quota| quota.used >= quota.max_lanes && !in_lane.contains(&quota.owner));
    full.map(|quota| quota.owner.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fan(n: u8) -> Digest {
        Digest::new([n; 32])
    }

    fn job(id: i64, fan_of: Option<u8>, group_limit: Option<u32>) -> Candidate {
        Candidate { job: JobId(id), fan: fan_of.map(fan), group_limit, avoid: None }
    }

    fn idle(free_slots: u32) -> LaneFacts {
        LaneFacts {
            fan: None,
            held: 0,
            group_limit: None,
            free_slots,
            prefetch: 0,
            host: "here".into(),
            fleet: FleetFacts { lanes: 3, hosts: 2, ready: 100 },
        }
    }

    fn ids(chosen: Vec<JobId>) -> Vec<i64> {
        chosen.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn an_idle_lane_fills_up_from_the_best_jobs_fan() {
        let ready = [job(1, Some(1), None), job(2, None, None), job(3, Some(2), None), job(4, Some(1), None)];
        assert_eq!(ids(choose(&idle(8), &ready)), [1, 4]);
        assert_eq!(ids(choose(&idle(1), &ready)), [1]);
        assert_eq!(ids(choose(&idle(8), &ready[1..])), [2]);
        assert_eq!(ids(choose(&idle(0), &ready)), [0i64; 0]);
    }

    #[test]
    fn a_running_fan_is_refilled_from_itself() {
        let lane = LaneFacts { fan: Some(fan(2)), held: 1, ..idle(8) };
        let ready = [job(1, Some(1), None), job(2, None, None), job(3, Some(2), None)];
        assert_eq!(ids(choose(&lane, &ready)), [3]);
    }

    #[test]
    fn a_suspect_stays_within_its_limit() {
        let ready = [job(1, Some(1), Some(1)), job(2, Some(1), None)];
        assert_eq!(ids(choose(&idle(8), &ready)), [1]);
        let ready = [job(1, Some(1), None), job(2, Some(1), Some(2)), job(3, Some(1), Some(2))];
        assert_eq!(ids(choose(&idle(8), &ready)), [1, 2]);
        let lane = LaneFacts { fan: Some(fan(1)), held: 1, group_limit: Some(1), ..idle(7) };
        assert_eq!(ids(choose(&lane, &ready)), [0i64; 0]);
    }

    #[test]
    fn a_job_goes_to_another_machine_while_there_is_one() {
        let failed_here = Candidate { avoid: Some("here".into()), ..job(1, None, None) };
        let ready = [failed_here, job(2, None, None)];
        assert_eq!(ids(choose(&idle(1), &ready)), [2]);
        assert_eq!(ids(choose(&idle(1), &ready[..1])), [0i64; 0]);
        let elsewhere = LaneFacts { host: "there".into(), ..idle(1) };
        assert_eq!(ids(choose(&elsewhere, &ready)), [1]);
        let only = LaneFacts { fleet: FleetFacts { lanes: 1, hosts: 1, ready: 2 }, ..idle(1) };
        assert_eq!(ids(choose(&only, &ready)), [1]);
    }

    #[test]
    fn what_others_could_start_is_not_held_ready() {
        let ready: Vec<_> = (1..=9).map(|id| job(id, Some(1), None)).collect();
        let chosen = |ready_jobs, lanes| {
            let fleet = FleetFacts { lanes, hosts: 1, ready: ready_jobs };
            choose(&LaneFacts { prefetch: 4, fleet, ..idle(2) }, &ready).len()
        };
        assert_eq!((chosen(9, 1), chosen(9, 4), chosen(9, 5), chosen(9, 50)), (6, 6, 5, 2));
    }

    #[test]
    fn an_owner_with_all_his_lanes_waits_except_in_them() {
        let quota = |owner: &str, max_lanes, used| Quota { owner: owner.into(), max_lanes, used };
        let quotas = [quota("a", 2, 2), quota("b", 2, 1), quota("c", 0, 0)];
        assert_eq!(exhausted(&quotas, &[]), ["a", "c"]);
        assert_eq!(exhausted(&quotas, &["a".into()]), ["c"]);
    }

    proptest! {
        #[test]
        fn what_is_chosen_fits(
            ready in proptest::collection::vec((proptest::option::of(0u8..3), proptest::option::of(1u32..6)), 0..40),
            running in proptest::option::of((0u8..3, 1u32..4)),
            free_slots in 0u32..10,
        ) {
            let ready: Vec<_> = ready.iter().enumerate().map(|(i, (fan_of, limit))| job(i as i64, *fan_of, *limit)).collect();
            let lane = LaneFacts {
                fan: running.map(|(f, _)| fan(f)),
                held: running.map_or(0, |(_, held)| held),
                ..idle(free_slots)
            };
            let chosen = choose(&lane, &ready);
            prop_assert!(chosen.len() <= free_slots as usize);
            let jobs: Vec<_> = ready.iter().filter(|c| chosen.contains(&c.job)).collect();
            prop_assert_eq!(jobs.len(), chosen.len());
            prop_assert!(jobs.windows(2).all(|pair| pair[0].fan == pair[1].fan));
            prop_assert!(jobs.iter().all(|c| c.fan.is_some()) || chosen.len() <= 1);
            let group = lane.held + chosen.len() as u32;
            prop_assert!(jobs.iter().all(|c| c.group_limit.is_none_or(|limit| group <= limit)));
            let best_fits = ready.first().is_some_and(|_| lane.fan.is_none() && free_slots > 0);
            prop_assert!(!best_fits || chosen.first() == Some(&JobId(0)));
        }
    }
}
