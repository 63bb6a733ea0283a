//! Which ready jobs a lane is offered.

use proto::id::{Digest, JobId};

/// How many ready jobs, best first, a decision looks at. Jobs beyond it wait for the next call.
pub const WINDOW: u32 = 256;

/// A ready job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The job.
    pub job: JobId,
    /// Jobs with equal fans may share a lane; a job without one runs alone.
    pub fan: Option<Digest>,
    /// How many jobs a process with this one may hold; none while it never saw one die.
    pub group_limit: Option<u32>,
}

/// The lane that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneFacts {
    /// The fan that runs in it; none when it is idle.
    pub fan: Option<Digest>,
    /// Jobs of that fan that it holds.
    pub held: u32,
    /// The smallest group limit among them.
    pub group_limit: Option<u32>,
    /// Further jobs it can take.
    pub free_slots: u32,
}

/// Chooses jobs for a lane from candidates that come best first: by priority, then longest first. An idle lane takes the best job and, if
/// that has a fan, fills up from the same fan. A lane that runs a fan is refilled from that fan only. No group grows beyond the limit of
/// any of its jobs.
pub fn choose(lane: &LaneFacts, candidates: &[Candidate]) -> Vec<JobId> {
    let fan = match (lane.fan, candidates.first()) {
        (_, None) => return Vec::new(),
        (Some(fan), _) => Some(fan),
        (None, Some(best)) => best.fan,
    };
    let (mut size, mut limit) = match lane.fan {
        Some(_) => (lane.held, lane.group_limit.unwrap_or(u32::MAX)),
        None => (0, u32::MAX),
    };
    let free = if fan.is_some() { lane.free_slots } else { lane.free_slots.min(1) };
    let mut chosen = Vec::new();
    for candidate in candidates.iter().filter(|c| c.fan == fan) {
        if chosen.len() >= free as usize {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fan(n: u8) -> Digest {
        Digest::new([n; 32])
    }

    fn job(id: i64, fan_of: Option<u8>, group_limit: Option<u32>) -> Candidate {
        Candidate { job: JobId(id), fan: fan_of.map(fan), group_limit }
    }

    fn idle(free_slots: u32) -> LaneFacts {
        LaneFacts { fan: None, held: 0, group_limit: None, free_slots }
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
        let lane = LaneFacts { fan: Some(fan(1)), held: 1, group_limit: Some(1), free_slots: 7 };
        assert_eq!(ids(choose(&lane, &ready)), [0i64; 0]);
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
