//! What a coordinator counts and measures for monitors. One value a process, made where the coordinator is put together and handed to
//! whoever moves a figure. `docs/metrics.md` lists what is shown.

use std::sync::Arc;
use std::time::Duration;

use coordinator_store::Observer;
use coordinator_store::model::Totals;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use proto::error::ErrorCode;
use proto::id::Term;
use proto::state::JobState;
use proto_kit::monitor::{Counters, Figures, Gauges, Histograms};

use crate::access::Cause;

/// See the module.
#[derive(Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Jobs leased to lanes.
    pub(crate) claims: Counter,
    /// Results committed.
    pub(crate) completions: Counter,
    releases: Counter,
    /// Heartbeats answered.
    pub(crate) heartbeats: Counter,
    /// Times between two jobs in a slot, as workers tell them.
    pub(crate) idle_gaps: Histogram,
    failures: Counters,
    taken_back: Counters,
    refused: Counters,
    calls: Histograms,
    table: Histograms,
    table_up: Gauge,
    leader: Gauge,
    term: Gauge,
    jobs: Gauges,
    workers: Gauge,
    lanes: Gauge,
    lanes_busy: Gauge,
    events: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut figures = Figures::new("quiver", env!("CARGO_PKG_VERSION"));
        let f = &mut figures;
        Self {
            claims: f.counter("claims", "Jobs leased to lanes"),
            completions: f.counter("completions", "Results committed"),
            releases: f.counter("releases", "Attempts given back unfinished"),
            heartbeats: f.counter("heartbeats", "Heartbeats answered"),
            idle_gaps: f.histogram("idle_gap_seconds", "Time between two jobs in a slot of a lane"),
            failures: f.counters("failures", "Attempts that workers reported as failed, by error code"),
            taken_back: f.counters("taken_back", "Jobs taken back from workers, by why"),
            refused: f.counters("refused", "Calls refused, by reason"),
            calls: f.histograms("call_seconds", "Time from a call to the beginning of its answer, by method"),
            table: f.histograms("table_seconds", "Time of operations on the job table, by operation"),
            table_up: f.gauge("table_up", "1 while the job table answers"),
            leader: f.gauge("leader", "1 while this coordinator leads, 0 while it stands by"),
            term: f.gauge("term", "The term that this coordinator holds, or last held"),
            jobs: f.gauges("jobs", "Jobs of all sweeps, by state"),
            workers: f.gauge("workers", "Workers whose lease holds"),
            lanes: f.gauge("lanes", "Lanes of these workers"),
            lanes_busy: f.gauge("lanes_busy", "Lanes that hold jobs"),
            events: f.gauge("events", "The newest entry of the journal"),
            registry: figures.done(),
        }
    }
}

impl Metrics {
    /// All figures.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Counts what is refused.
    pub(crate) fn refused(&self, cause: Cause) {
        self.refused.get_or_create(&[("reason", cause.name())]).inc();
    }

    /// How often something was refused for a cause.
    pub fn refusals(&self, cause: Cause) -> u64 {
        self.refused.get_or_create(&[("reason", cause.name())]).get()
    }

    /// An attempt ended without a result: it failed, or was given back.
    pub(crate) fn ended(&self, failed: Option<ErrorCode>) {
        match failed {
            Some(code) => self.failures.get_or_create(&[("code", code.name())]).inc(),
            None => self.releases.inc(),
        };
    }

    pub(crate) fn called(&self, method: &'static str, took: Duration) {
        self.calls.get_or_create(&[("method", method)]).observe(took.as_secs_f64());
    }

    /// Jobs were taken back from workers, for a reason.
    pub(crate) fn took_back(&self, why: &'static str, jobs: u64) {
        self.taken_back.get_or_create(&[("why", why)]).inc_by(jobs);
    }

    /// This coordinator leads in a term from now on.
    pub(crate) fn leads(&self, term: Term) {
        self.leader.set(1);
        self.term.set(int(term.0));
    }

    /// This coordinator leads no more: what the table holds is another's to show.
    pub(crate) fn stands_by(&self) {
        self.leader.set(0);
        self.shows(&Totals::default());
    }

    /// What the table holds.
    pub(crate) fn shows(&self, totals: &Totals) {
        for state in JobState::ALL {
            let jobs = totals.jobs.get(state).copied().unwrap_or(0);
            self.jobs.get_or_create(&[("state", state.name())]).set(int(jobs));
        }
        self.workers.set(int(totals.workers));
        self.lanes.set(int(totals.lanes));
        self.lanes_busy.set(int(totals.busy));
        self.events.set(int(totals.events));
    }

    /// Whether this coordinator leads.
    pub(crate) fn is_leader(&self) -> bool {
        self.leader.get() == 1
    }

    /// Whether the job table answered when it was last asked.
    pub(crate) fn table_answers(&self, answers: bool) {
        self.table_up.set(answers.into());
    }

    /// What [`Self::table_answers`] was last told; false before.
    pub(crate) fn table_is_up(&self) -> bool {
        self.table_up.get() == 1
    }
}

impl Observer for Metrics {
    fn took(&self, operation: &'static str, time: Duration) {
        self.table.get_or_create(&[("operation", operation)]).observe(time.as_secs_f64());
    }
}

fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proto::error::Reason;

    use super::*;

    #[test]
    fn the_manual_names_every_figure() {
        let metrics = Metrics::default();
        metrics.refused(Cause::Told(Reason::StaleAttempt));
        metrics.ended(Some(ErrorCode::Data));
        metrics.took_back("silent", 1);
        metrics.called("Fleet/Heartbeat", Duration::from_millis(1));
        metrics.took("heartbeat", Duration::from_millis(1));
        metrics.stands_by();
        let manual = include_str!("../../docs/metrics.md");
        let wrong = proto_kit::manual::wrong_figures(manual, "Coordinator", &metrics.registry).unwrap();
        assert_eq!(wrong, Vec::<String>::new());
    }
}
