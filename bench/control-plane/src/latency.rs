//! How long calls took.

use std::time::{Duration, Instant};

/// The durations of calls of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Notes what has passed since `began`.
    pub(crate) fn note(&mut self, began: Instant) {
        self.0.push(began.elapsed());
    }

    /// Adds what another counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many calls.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The duration that a share of all calls did not exceed, in milliseconds; 0 without calls.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.max(1) - 1).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        Self(durations.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_durations_that_were_seen() {
        let latencies: Latencies = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(
            [0.0, 0.5, 0.99, 1.0].map(|share| latencies.quantile_ms(share)),
            [1.0, 100.0, 198.0, 200.0]
        );
        assert_eq!(Latencies::default().quantile_ms(0.5), 0.0);
    }
}
