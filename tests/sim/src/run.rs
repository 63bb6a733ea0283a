//! One simulation from its seed: machines, blows, and the end, when every job must have succeeded once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proto_kit::offload;
use rand::RngExt;
use turmoil::Sim;

use crate::hosts::{COORDINATORS, Host};
use crate::machine;
use crate::weather::Blow;
use crate::world::World;

/// How finely time passes between machines.
const TICK: Duration = Duration::from_millis(50);
/// Within this time after the weather is over everything must have ended.
const PATIENCE: Duration = Duration::from_secs(600);
/// The machines of workers, with their lanes.
const WORKERS: [(&str, usize); 3] = [("node-1", 1), ("node-2", 2), ("node-3", 1)];
const OPERATOR: &str = "desk";

/// What is to be undone later.
enum Undo {
    Start(String),
    Repair(String, String),
    Release(String, String),
}

struct Run<'a> {
    sim: Sim<'a>,
    world: Arc<World>,
    undo: Vec<(Duration, Undo)>,
    blow: Option<(Duration, Blow)>,
}

/// Runs a world to its end.
///
/// # Errors
/// The rule that was broken.
pub(crate) fn run(seed: u64, world: &Arc<World>, dir: &Path) -> Result<(), String> {
    offload::inline();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(Duration::MAX)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(400))
        .tcp_capacity(4096)
        .enable_random_order()
        .build();
    for name in COORDINATORS {
        let host = Host::new(world, name);
        sim.host(name, move || host.clone().coordinate());
    }
    for (name, lanes) in WORKERS {
        let (host, dir) = (Host::new(world, name), dir.to_owned());
        sim.host(name, move || host.clone().work(dir.clone(), lanes));
    }
    let operator = Host::new(world, OPERATOR);
    sim.host(OPERATOR, move || operator.clone().operate());
    let blow = world.draw(|random| world.weather.next(random, Duration::ZERO));
    let mut run = Run { sim, world: Arc::clone(world), undo: Vec::new(), blow };
    run.go()
}

impl Run<'_> {
    fn go(&mut self) -> Result<(), String> {
        let calm = self.world.weather.until;
        loop {
            let now = self.sim.elapsed();
            self.world.set_now(now);
            machine::set_nanos(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
            if now >= calm && now < calm + TICK {
                self.calm_down();
            }
            self.undo_what_is_due(now);
            self.blow_if_due(now);
            self.sim.step().map_err(|error| format!("a machine broke down: {error}"))?;
            for host in self.world.take_dying() {
                self.crash(&host);
            }
            if let Some(broken) = self.world.broken() {
                return Err(broken);
            }
            if now > calm && self.world.is_over() {
                return self.world.check_end();
            }
            if now > calm + PATIENCE {
                return Err(format!("{} s of calm, and not every job has ended", PATIENCE.as_secs()));
            }
        }
    }

    /// Undoes every blow; from now on nothing goes wrong.
    fn calm_down(&mut self) {
        self.world.calm_down();
        for (_, undo) in std::mem::take(&mut self.undo) {
            self.undo(undo);
        }
        self.world.note("world", format_args!("calm"));
    }

    fn undo_what_is_due(&mut self, now: Duration) {
        let (due, later) = std::mem::take(&mut self.undo).into_iter().partition(|(at, _)| *at <= now);
        self.undo = later;
        for (_, undo) in due {
            self.undo(undo);
        }
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Start(host) => {
                if !self.sim.is_host_running(host.as_str()) {
                    self.sim.bounce(host.as_str());
                }
            }
            Undo::Repair(a, b) => self.sim.repair(a.as_str(), b.as_str()),
            Undo::Release(a, b) => self.sim.release(a.as_str(), b.as_str()),
        }
    }

    fn blow_if_due(&mut self, now: Duration) {
        let Some((_, blow)) = self.blow.filter(|(at, _)| *at <= now) else { return };
        let world = Arc::clone(&self.world);
        self.blow = world.draw(|random| world.weather.next(random, now));
        let machines: Vec<_> = COORDINATORS.into_iter().chain(WORKERS.map(|(name, _)| name)).collect();
        let (one, other) = world.draw(|random| {
            let one = random.random_range(0..machines.len());
            (one, (one + random.random_range(1..machines.len())) % machines.len())
        });
        let (one, other) = (machines[one].to_owned(), machines[other].to_owned());
        let end = now + Duration::from_millis(world.draw(|random| random.random_range(500..40_000)));
        world.note("world", format_args!("{blow:?} {one} {other} until {:.1}", end.as_secs_f64()));
        match blow {
            Blow::Crash => self.crash(&one),
            Blow::Cut => {
                self.sim.partition(one.as_str(), other.as_str());
                self.undo.push((end, Undo::Repair(one, other)));
            }
            Blow::CutOneWay => {
                self.sim.partition_oneway(one.as_str(), other.as_str());
                self.undo.push((end, Undo::Repair(one, other)));
            }
            Blow::Hold => {
                self.sim.hold(one.as_str(), other.as_str());
                self.undo.push((end, Undo::Release(one, other)));
            }
            Blow::Freeze => {
                world.freeze(&one, end);
                for other in machines.iter().filter(|other| **other != one) {
                    self.sim.hold(one.as_str(), *other);
                    self.undo.push((end, Undo::Release(one.clone(), (*other).to_owned())));
                }
            }
            Blow::SetClock => {
                let by = world.draw(|random| random.random_range(-30_000_000..30_000_000));
                world.set_clock(&one, by);
            }
            Blow::Drain => world.drain(&one),
        }
    }

    fn crash(&mut self, host: &str) {
        if !self.sim.is_host_running(host) {
            return;
        }
        self.world.note(host, format_args!("dies"));
        self.sim.crash(host);
        let down = self.world.draw(|random| Duration::from_millis(random.random_range(100..30_000)));
        let again = (self.sim.elapsed() + down).min(self.world.weather.until.max(self.sim.elapsed()));
        self.undo.push((again, Undo::Start(host.to_owned())));
    }
}
