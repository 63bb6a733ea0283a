//! What all machines of a simulation share: the table and the objects that outlive them, the seed's random numbers, the weather, the trace,
//! and the history by which every step is judged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coordinator_core::policy::Policy;
use coordinator_store::model::Commit;
use coordinator_store::{MemoryStore, Store, StoreError};
use futures::FutureExt;
use object_store::memory::InMemory;
use proto::id::WorkerId;
use proto::pipe::Task;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::sleep;
use worker::Exit;

use crate::history::History;
use crate::plan::Plan;
use crate::table::down;
use crate::throne::Reign;
use crate::weather::Weather;

/// Microseconds since 1970 when a simulation begins.
const EPOCH: i64 = 1_800_000_000_000_000;

/// Deadlines, shorter than a cluster's so that more happens. Tries are many: faults alone must fail no job.
pub(crate) fn policy() -> Policy {
    Policy {
        lease_ttl: Duration::from_secs(12),
        heartbeat: Duration::from_secs(2),
        ack_timeout: Duration::from_secs(6),
        tries: 1000,
        backoff: Duration::from_millis(500),
        backoff_cap: Duration::from_secs(4),
        stall_after: Duration::from_secs(60),
        blame_limit: 1000,
        ..Policy::default()
    }
}

/// See the module.
pub(crate) struct World {
    /// The job table.
    pub(crate) table: Arc<MemoryStore>,
    /// The object store.
    pub(crate) objects: Arc<InMemory>,
    /// Whether completion checks only that the job runs, not which attempt: the bug that must be found.
    pub(crate) planted: bool,
    /// What goes wrong.
    pub(crate) weather: Weather,
    /// What is computed.
    pub(crate) plan: Arc<Plan>,
    state: Mutex<State>,
}

struct State {
    random: ChaCha8Rng,
    now: Duration,
    calm: bool,
    history: History,
    reign: Option<Reign>,
    frozen: BTreeMap<String, Duration>,
    offsets: BTreeMap<String, i64>,
    dying: Vec<String>,
    exits: BTreeMap<String, Exit>,
    trace: String,
    broken: Option<String>,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It takes so long.
    Takes(Duration),
    /// It fails and has done nothing.
    Before,
    /// It is carried out, and its caller hears that it failed.
    After,
    /// It is carried out twice.
    Twice,
    /// It is carried out, and again after a while.
    Late(Duration),
    /// A commit is carried out only after a while; its worker dies now.
    Strays(Duration),
    /// The caller's machine dies before it is carried out.
    CrashBefore,
    /// The caller's machine dies before it hears the answer.
    CrashAfter,
}

impl World {
    /// The world of a seed.
    ///
    /// # Errors
    /// When its sweep makes no sense.
    pub(crate) fn new(seed: u64, planted: bool) -> Result<Arc<Self>, String> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let weather = Weather::draw(&mut random);
        let plan = Arc::new(Plan::draw(&mut random)?);
        let state = State {
            random,
            now: Duration::ZERO,
            calm: false,
            history: History::default(),
            reign: None,
            frozen: BTreeMap::new(),
            offsets: BTreeMap::new(),
            dying: Vec::new(),
            exits: BTreeMap::new(),
            trace: String::new(),
            broken: None,
        };
        let table = Arc::new(MemoryStore::new(policy()));
        let world = Self { table, objects: Arc::default(), planted, weather, plan, state: Mutex::new(state) };
        world.note("world", format_args!("{:?}", world.weather));
        Ok(Arc::new(world))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the simulation began.
    pub(crate) fn now(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| self.state().now)
    }

    /// The simulation has come so far.
    pub(crate) fn set_now(&self, now: Duration) {
        self.state().now = now;
    }

    /// From now on nothing goes wrong.
    pub(crate) fn calm_down(&self) {
        let mut state = self.state();
        state.calm = true;
        state.frozen.clear();
    }

    /// Draws from the seed.
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        draw(&mut self.state().random)
    }

    /// Whether something happens that does so with these odds while the weather lasts.
    pub(crate) fn happens(&self, odds: f64) -> bool {
        let mut state = self.state();
        !state.calm && state.random.random_bool(odds)
    }

    /// What happens to a call.
    pub(crate) fn fate(&self) -> Fate {
        let Weather { before, after, slow, twice, late, stray, crash, .. } = self.weather;
        let mut state = self.state();
        let usual = Duration::from_micros(state.random.random_range(100..20_000));
        if state.calm {
            return Fate::Takes(usual);
        }
        let seconds = Duration::from_millis(state.random.random_range(1_000..25_000));
        let odds = [
            (before, Fate::Before),
            (after, Fate::After),
            (slow, Fate::Takes(seconds)),
            (twice, Fate::Twice),
            (late, Fate::Late(seconds)),
            (stray, Fate::Strays(seconds)),
            (crash, Fate::CrashBefore),
            (crash, Fate::CrashAfter),
        ];
        for (odds, fate) in odds {
            if state.random.random_bool(odds) {
                return fate;
            }
        }
        Fate::Takes(usual)
    }

    /// A call of a machine is on its way: it takes its time, fails, or its machine dies. What else happens to it is told.
    pub(crate) async fn arrive(&self, host: &str) -> Result<Fate, StoreError> {
        let fate = self.fate();
        match fate {
            Fate::Takes(time) => sleep(time).await,
            Fate::Before => return Err(down()),
            Fate::CrashBefore => self.die(host).await,
            Fate::After | Fate::Twice | Fate::Late(_) | Fate::Strays(_) | Fate::CrashAfter => {}
        }
        self.thawed(host).await;
        Ok(fate)
    }

    /// A call's answer is on its way back: it may not come, or its machine dies before it hears it.
    pub(crate) async fn depart(&self, host: &str, fate: Fate) -> Result<(), StoreError> {
        match fate {
            Fate::After => return Err(down()),
            Fate::CrashAfter => self.die(host).await,
            Fate::Takes(_)
            | Fate::Before
            | Fate::Twice
            | Fate::Late(_)
            | Fate::Strays(_)
            | Fate::CrashBefore => {}
        }
        self.thawed(host).await;
        Ok(())
    }

    /// The caller's machine dies; this never returns.
    pub(crate) async fn die<T>(&self, host: &str) -> T {
        self.kill(host);
        std::future::pending().await
    }

    /// The workers of some commits die.
    pub(crate) fn bereave(&self, commits: &[Commit]) {
        let workers = self.table.workers().now_or_never().and_then(Result::ok).unwrap_or_default();
        for commit in commits {
            if let Some(worker) = workers.iter().find(|worker| worker.id == commit.worker) {
                self.note(&worker.name, format_args!("dies, and its commit of {:?} strays", commit.task));
                self.kill(&worker.name);
            }
        }
    }

    /// A machine dies at the end of this tick.
    pub(crate) fn kill(&self, host: &str) {
        self.state().dying.push(host.to_owned());
    }

    /// Notes how a worker's process on a machine is told to leave.
    pub(crate) fn on_drain(&self, host: &str, exit: Exit) {
        self.state().exits.insert(host.to_owned(), exit);
    }

    /// Tells the worker on a machine to leave.
    pub(crate) fn drain(&self, host: &str) {
        if let Some(exit) = self.state().exits.remove(host) {
            exit.drain();
        }
    }

    /// Whom an attempt was offered to.
    pub(crate) fn holder_of(&self, task: Task) -> Option<WorkerId> {
        self.state().history.holder_of(task)
    }

    /// The machines that die now.
    pub(crate) fn take_dying(&self) -> Vec<String> {
        std::mem::take(&mut self.state().dying)
    }

    /// A machine stands still until then.
    pub(crate) fn freeze(&self, host: &str, until: Duration) {
        self.state().frozen.insert(host.to_owned(), until);
    }

    /// How much longer a machine stands still.
    pub(crate) fn frozen_for(&self, host: &str) -> Duration {
        let until = self.state().frozen.get(host).copied().unwrap_or_default();
        until.saturating_sub(self.now())
    }

    /// Waits while a machine stands still.
    pub(crate) async fn thawed(&self, host: &str) {
        loop {
            let rest = self.frozen_for(host);
            if rest.is_zero() {
                return;
            }
            sleep(rest).await;
        }
    }

    /// Sets a machine's clock ahead, or back, by so many microseconds.
    pub(crate) fn set_clock(&self, host: &str, by: i64) {
        *self.state().offsets.entry(host.to_owned()).or_default() += by;
    }

    /// What a machine's clock shows, in microseconds since 1970.
    pub(crate) fn wall(&self, host: &str) -> i64 {
        let now = i64::try_from(self.now().as_micros()).unwrap_or(i64::MAX);
        EPOCH + now + self.state().offsets.get(host).copied().unwrap_or(0)
    }

    /// Reads or changes the leader's row.
    pub(crate) fn reign<T>(&self, change: impl FnOnce(&mut Option<Reign>) -> T) -> T {
        change(&mut self.state().reign)
    }

    /// Judges a step by what happened before.
    pub(crate) fn judge(&self, judge: impl FnOnce(&mut History, &Self) -> Result<(), String>) {
        let mut history = std::mem::take(&mut self.state().history);
        let judged = judge(&mut history, self);
        self.state().history = history;
        if let Err(broken) = judged {
            self.break_off(broken);
        }
    }

    /// A rule is broken; the first one counts.
    pub(crate) fn break_off(&self, what: String) {
        self.note("world", format_args!("BROKEN: {what}"));
        self.state().broken.get_or_insert(what);
    }

    /// The rule that was broken.
    pub(crate) fn broken(&self) -> Option<String> {
        self.state().broken.clone()
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, host: &str, what: std::fmt::Arguments<'_>) {
        let now = self.now().as_secs_f64();
        let mut state = self.state();
        let _infallible = writeln!(state.trace, "{now:10.4} {host:<8} {what}");
    }

    /// All that happened.
    pub(crate) fn trace(&self) -> String {
        self.state().trace.clone()
    }
}
