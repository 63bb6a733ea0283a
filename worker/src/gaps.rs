//! How long slots stay empty between two jobs: the figure by which one sees whether lanes wait for the network.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

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

/// All gaps so far. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdleGaps(Arc<Mutex<Gaps>>);

#[derive(Debug, Default)]
struct Gaps {
    histogram: Histogram,
    /// What the coordinator has not been told yet.
    untold: Vec<Duration>,
}

impl IdleGaps {
    pub(crate) fn note(&self, gap: Duration) {
        let mut gaps = self.gaps();
        gaps.histogram.note(gap);
        gaps.untold.push(gap);
    }

    pub(crate) fn summary(&self) -> IdleGap {
        let Gaps { histogram, .. } = &*self.gaps();
        let Histogram { count, max, .. } = *histogram;
        IdleGap { count, p50: histogram.quantile(0.5), p99: histogram.quantile(0.99), max }
    }

    /// The gaps to tell the coordinator of. Whoever fails to must give them back.
    pub(crate) fn take_untold(&self) -> Vec<Duration> {
        std::mem::take(&mut self.gaps().untold)
    }

    pub(crate) fn give_back(&self, untold: Vec<Duration>) {
        self.gaps().untold.extend(untold);
    }

    fn gaps(&self) -> MutexGuard<'_, Gaps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for IdleGaps {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Gaps { histogram, .. } = &*self.gaps();
        let sum = histogram.sum.as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, histogram.count, &histogram.shown(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Buckets within a doubling.
const PARTS: u32 = 8;
/// Doublings that monitors are shown: the first ends at 1.024 ms, the last at 67 s.
const SHOWN: std::ops::RangeInclusive<u32> = 9..=25;
/// From a microsecond to beyond a year.
const BUCKETS: usize = 46 * PARTS as usize;

/// Durations in buckets that widen with their size: each doubling is cut into equal parts.
#[derive(Debug)]
struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: Duration,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum: Duration::ZERO, max: Duration::ZERO }
    }
}

impl Histogram {
    fn note(&mut self, duration: Duration) {
        if let Some(bucket) = self.buckets.get_mut(bucket(duration).min(BUCKETS - 1)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(duration);
        self.max = self.max.max(duration);
    }

    /// Upper ends in seconds with what lies in each, from a millisecond to beyond a minute; monitors need no finer ones.
    fn shown(&self) -> Vec<(f64, u64)> {
        let mut shown: Vec<(f64, u64)> = Vec::new();
        let mut below = 0;
        for (doubling, parts) in (0u32..).zip(self.buckets.chunks(PARTS as usize)) {
            below += parts.iter().sum::<u64>();
            if SHOWN.contains(&doubling) {
                let end = Duration::from_micros(1 << (doubling + 1));
                shown.push((end.as_secs_f64(), std::mem::take(&mut below)));
            }
        }
        shown.push((f64::INFINITY, below));
        shown
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
        let gaps = IdleGaps::default();
        assert_eq!(gaps.summary(), IdleGap::default());
        for millis in 1..=1000 {
            gaps.note(Duration::from_millis(millis));
        }
        let IdleGap { count, p50, p99, max } = gaps.summary();
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

    #[test]
    fn monitors_are_shown_every_gap_once() {
        let mut histogram = Histogram::default();
        for micros in [0, 900, 1_024, 1_025, 200_000, 70_000_000, 90_000_000] {
            histogram.note(Duration::from_micros(micros));
        }
        let shown: Vec<_> = histogram.shown().into_iter().filter(|(_, gaps)| *gaps > 0).collect();
        assert_eq!(shown, [(0.001024, 2), (0.002048, 2), (0.262144, 1), (f64::INFINITY, 2)]);
        assert_eq!(histogram.shown().len(), 18);
    }

    #[test]
    fn what_could_not_be_told_is_told_later() {
        let gaps = IdleGaps::default();
        let [first, second] = [1, 2].map(Duration::from_millis);
        gaps.note(first);
        let untold = gaps.take_untold();
        gaps.note(second);
        gaps.give_back(untold);
        assert_eq!(gaps.take_untold(), [second, first]);
        assert_eq!(gaps.take_untold(), []);
        assert_eq!(gaps.summary().count, 2);
    }
}
