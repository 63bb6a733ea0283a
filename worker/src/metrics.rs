//! What a worker counts about itself, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A figure that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The figure.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// A figure that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// The figure.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, n: usize) {
        self.0.store(n as u64, Ordering::Relaxed);
    }
}

/// All figures of one worker.
#[derive(Debug, Default)]
pub struct Metrics {
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
    /// Bytes of results and checkpoints that went to the store, or were found there.
    pub upload_bytes: Counter,
    /// Runners that died or were killed because they hung.
    pub runners_lost: Counter,
    idle_gap: Mutex<Histogram>,
}

/// The distribution of the time between a slot's becoming free and the start of the next job in it. Time in which the coordinator had
/// nothing for the slot is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleGap {
    /// Jobs that were started in a slot that another had left.
    pub count: u64,
    /// Half of the gaps are no longer; exact to an eighth.
    pub p50: Duration,
    /// 99 of 100 are no longer; exact to an eighth.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Metrics {
    /// The idle gaps so far.
    pub fn idle_gap(&self) -> IdleGap {
        let gaps = self.gaps();
        IdleGap { count: gaps.count, p50: gaps.quantile(0.5), p99: gaps.quantile(0.99), max: gaps.max }
    }

    pub(crate) fn note_gap(&self, gap: Duration) {
        self.gaps().note(gap);
    }

    fn gaps(&self) -> MutexGuard<'_, Histogram> {
        self.idle_gap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Buckets within a doubling.
const PARTS: u32 = 8;
/// From a microsecond to beyond a year.
const BUCKETS: usize = 46 * PARTS as usize;

/// Durations in buckets that widen with their size: each doubling is cut into equal parts.
#[derive(Debug)]
struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    fn note(&mut self, duration: Duration) {
        if let Some(bucket) = self.buckets.get_mut(bucket(duration).min(BUCKETS - 1)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(duration);
    }

    /// The upper end of the bucket below which a share of all durations lies.
    fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (n, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return upper_end(n).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = micros.ilog2();
    let part = ((u128::from(micros) * u128::from(PARTS)) >> doubling) as u32 - PARTS;
    (doubling * PARTS + part) as usize
}

fn upper_end(bucket: usize) -> Duration {
    let (doubling, part) = (bucket as u32 / PARTS, bucket as u32 % PARTS);
    let micros = (u128::from(PARTS + part + 1) << doubling) / u128::from(PARTS);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_an_eighth_and_never_above_the_longest() {
        let metrics = Metrics::default();
        assert_eq!(metrics.idle_gap(), IdleGap::default());
        for millis in 1..=1000 {
            metrics.note_gap(Duration::from_millis(millis));
        }
        let IdleGap { count, p50, p99, max } = metrics.idle_gap();
        assert_eq!((count, max), (1000, Duration::from_secs(1)));
        assert!((500..=563).contains(&p50.as_millis()), "{p50:?}");
        assert!((990..=1000).contains(&p99.as_millis()), "{p99:?}");
    }

    #[test]
    fn every_duration_lies_in_its_bucket() {
        for micros in [0, 1, 2, 3, 7, 8, 9, 1000, 123_456, 60_000_000, 86_400_000_000] {
            let duration = Duration::from_micros(micros);
            let n = bucket(duration);
            assert!(duration <= upper_end(n) && (n == 0 || duration >= upper_end(n - 1)), "{micros}");
        }
        let mut histogram = Histogram::default();
        histogram.note(Duration::MAX);
        assert_eq!(histogram.count, 1);
    }
}
