//! The killer: faults at random, by a seed, until each kind of process has had its share.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::sleep;

use crate::cluster::{Cluster, TTL, Worker};
use crate::kept::{Kept, children, freeze};
use crate::proxy::{Proxy, Way};

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Coordinator,
    Worker,
    Runner,
    Postgres,
    Store,
}

const TARGETS: [Target; 5] =
    [Target::Coordinator, Target::Worker, Target::Runner, Target::Postgres, Target::Store];

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    Killed,
    Frozen,
    Stalled,
    Cut,
}

/// What was done: who was hit how, how often.
pub(crate) type Done = BTreeMap<(Target, How), u32>;

/// Hits each kind of process `budget` times, one after another and at times two at once.
pub(crate) async fn run(cluster: &Cluster, seed: u64, budget: u32) -> Done {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut left: BTreeMap<Target, u32> = TARGETS.map(|target| (target, budget)).into();
    let mut done = Done::new();
    while !left.is_empty() {
        let count = if left.len() > 1 && random.random_bool(0.25) { 2 } else { 1 };
        let mut chosen: Vec<Target> = Vec::new();
        while chosen.len() < count {
            let target = *left.keys().nth(random.random_range(0..left.len())).unwrap();
            if !chosen.contains(&target) {
                chosen.push(target);
            }
        }
        let plans: Vec<_> = chosen.iter().map(|target| plan(*target, &mut random)).collect();
        let hits = chosen.iter().zip(&plans).map(|(target, plan)| hit(cluster, *target, *plan));
        for (target, how) in futures::future::join_all(hits).await.into_iter().flatten() {
            *done.entry((target, how)).or_default() += 1;
            let rest = left.get_mut(&target).unwrap();
            *rest -= 1;
            if *rest == 0 {
                left.remove(&target);
            }
        }
        sleep(Duration::from_millis(random.random_range(50..600))).await;
    }
    done
}

/// One fault.
#[derive(Clone, Copy, Debug)]
struct Plan {
    how: How,
    /// Which of several.
    number: usize,
    /// How long it lasts: often shorter than leases and reigns live, at times longer.
    time: Duration,
}

fn plan(target: Target, random: &mut ChaCha8Rng) -> Plan {
    let ways: &[How] = match target {
        Target::Runner => &[How::Killed, How::Killed, How::Frozen],
        Target::Postgres | Target::Store => &[How::Killed, How::Stalled, How::Cut],
        Target::Coordinator | Target::Worker => &[How::Killed, How::Frozen, How::Stalled, How::Cut],
    };
    let how = ways[random.random_range(0..ways.len())];
    let longest = if random.random_bool(0.3) { TTL * 2 } else { TTL / 2 };
    let time = longest.mul_f64(random.random_range(0.1..1.0));
    Plan { how, number: random.random_range(0..1_000), time }
}

/// Carries a fault out; nothing where there was nobody to hit.
async fn hit(cluster: &Cluster, target: Target, plan: Plan) -> Option<(Target, How)> {
    let Cluster { coordinators, workers, .. } = cluster;
    let worker = &workers[plan.number % workers.len()];
    let number = plan.number % coordinators.len();
    let hit = match target {
        Target::Coordinator => {
            let ways = workers.iter().map(|worker| &worker.ways[number]).collect();
            hit_one(&coordinators[number], ways, plan).await
        }
        Target::Worker => hit_one(&worker.process, worker.ways.iter().collect(), plan).await,
        Target::Runner => hit_runner(worker, plan).await,
        Target::Postgres => {
            hit_one(cluster.postgres.as_ref()?, cluster.to_table.iter().collect(), plan).await
        }
        Target::Store => hit_one(cluster.store.as_ref()?, cluster.to_store.iter().collect(), plan).await,
    };
    tracing::info!(?target, ?plan, hit, "fault");
    hit.then_some((target, plan.how))
}

async fn hit_one(process: &Kept, ways: Vec<&Proxy>, plan: Plan) -> bool {
    let cut = |way| {
        let made = ways.iter().map(move |proxy| proxy.make(way, plan.time));
        async {
            futures::future::join_all(made).await;
            true
        }
    };
    match plan.how {
        How::Killed => process.kill().await,
        How::Frozen => match process.pid() {
            Some(pid) => freeze(pid, plan.time).await,
            None => false,
        },
        How::Stalled => cut(Way::Stalled).await,
        How::Cut => cut(Way::Cut).await,
    }
}

async fn hit_runner(worker: &Worker, plan: Plan) -> bool {
    let Some(runner) = worker.process.pid().and_then(|pid| children(pid).first().copied()) else {
        return false;
    };
    match plan.how {
        How::Frozen => freeze(runner, plan.time).await,
        _ => crate::kept::signal("KILL", runner).await,
    }
}
