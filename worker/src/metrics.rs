//! What a worker counts and measures for monitors, and for itself. `docs/metrics.md` lists what is shown.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use proto_kit::monitor::Figures;
use tokio::time::Instant;
use worker_artifacts::CacheFigures;

use crate::gaps::{IdleGap, IdleGaps};

/// All figures of one worker.
#[derive(Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Jobs taken from the coordinator.
    pub jobs_taken: Counter,
    /// Jobs that a runner began to compute.
    pub jobs_started: Counter,
    /// Results that the coordinator accepted.
    pub jobs_committed: Counter,
    /// Attempts that ended in a failure.
    pub jobs_failed: Counter,
    /// Attempts given back unfinished.
    pub jobs_released: Counter,
    /// Attempts that the coordinator dropped, or whose end nobody waited for.
    pub jobs_dropped: Counter,
    /// Attempts held: waiting, computed, or on their way to the coordinator.
    pub jobs_held: Gauge,
    /// Attempts that runners compute.
    pub jobs_running: Gauge,
    /// Checkpoints recorded.
    pub checkpoints_recorded: Counter,
    /// How long results and checkpoints took to be in the store.
    pub uploads: Histogram,
    /// Bytes of results and checkpoints that went to the store, or were found there.
    pub upload_bytes: Counter,
    /// Runners that died or were killed because they hung.
    pub runners_lost: Counter,
    pub(crate) cache: CacheFigures,
    pub(crate) gaps: IdleGaps,
    pub(crate) trust: Trust,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut figures = Figures::new("quiver_worker", env!("CARGO_PKG_VERSION"));
        let f = &mut figures;
        Self {
            jobs_taken: f.counter("jobs_taken", "Jobs taken from the coordinator"),
            jobs_started: f.counter("jobs_started", "Jobs that a runner began to compute"),
            jobs_committed: f.counter("jobs_committed", "Results that the coordinator accepted"),
            jobs_failed: f.counter("jobs_failed", "Attempts that ended in a failure"),
            jobs_released: f.counter("jobs_released", "Attempts given back unfinished"),
            jobs_dropped: f.counter("jobs_dropped", "Attempts that nobody wanted any more"),
            jobs_held: f.gauge("jobs_held", "Attempts held: waiting, computed or being committed"),
            jobs_running: f.gauge("jobs_running", "Attempts that runners compute"),
            checkpoints_recorded: f.counter("checkpoints_recorded", "Checkpoints recorded"),
            uploads: f.histogram("upload_seconds", "Time to bring a result or checkpoint into the store"),
            upload_bytes: f.counter("upload_bytes", "Bytes of results and checkpoints stored"),
            runners_lost: f.counter("runners_lost", "Runners that died or were killed because they hung"),
            cache: CacheFigures {
                hits: f.counter("cache_hits", "Inputs that the node had"),
                misses: f.counter("cache_misses", "Inputs that were fetched from the store"),
                bytes: f.counter("cache_fetched_bytes", "Bytes of inputs fetched from the store"),
            },
            gaps: f.add("idle_gap_seconds", "Time between two jobs in a slot", IdleGaps::default()),
            trust: f.add("lease_trust_seconds", "How long the lease is still trusted", Trust::default()),
            registry: figures.done(),
        }
    }
}

impl Metrics {
    /// All figures.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// The idle gaps so far.
    pub fn idle_gap(&self) -> IdleGap {
        self.gaps.summary()
    }
}

/// Until when the lease is trusted. Shown is what is left when somebody looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust(Arc<Mutex<Option<Instant>>>);

impl Trust {
    /// The lease is trusted for so long from now on.
    pub(crate) fn set(&self, left: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + left);
    }

    fn left(&self) -> Duration {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}

impl EncodeMetric for Trust {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.left().as_secs_f64())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_names_every_figure() {
        let manual = include_str!("../../docs/metrics.md");
        let wrong = proto_kit::manual::wrong_figures(manual, "Worker", &Metrics::default().registry).unwrap();
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn trust_runs_out_by_itself() {
        let trust = Trust::default();
        assert_eq!(trust.left(), Duration::ZERO);
        trust.set(Duration::from_secs(25));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(trust.left(), Duration::from_secs(15));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(trust.left(), Duration::ZERO);
    }
}
