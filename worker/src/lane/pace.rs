//! How fast a job goes, and so when it ends.

use std::time::Duration;

use tokio::time::Instant;

/// What a job has told of its progress. An attempt that resumed begins at a later step, so that only steps seen here count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    first: Option<(u64, Instant)>,
    step: u64,
    total: u64,
}

impl Pace {
    /// Notes that `step` of `total` are done.
    pub(super) fn note(&mut self, now: Instant, step: u64, total: u64) {
        self.first.get_or_insert((step, now));
        (self.step, self.total) = (step, total);
    }

    /// The time that the rest takes at the mean pace so far. Unknown before the first step, and longer the longer nothing is heard.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        let (first, since) = self.first?;
        let done = self.step.checked_sub(first).filter(|done| *done > 0)?;
        let left = self.total.saturating_sub(self.step);
        Some((now - since).mul_f64(left as f64 / done as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rest_is_told_by_the_steps_of_this_attempt_alone() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let at = |s| began + Duration::from_secs(s);
        assert_eq!(pace.remaining(at(5)), None);
        pace.note(at(0), 500, 1000);
        assert_eq!(pace.remaining(at(5)), None, "one message tells no pace");
        pace.note(at(10), 600, 1000);
        assert_eq!(pace.remaining(at(10)), Some(Duration::from_secs(40)));
        assert_eq!(
            pace.remaining(at(20)),
            Some(Duration::from_secs(80)),
            "a job that says nothing slows down"
        );
        pace.note(at(20), 1000, 1000);
        assert_eq!(pace.remaining(at(20)), Some(Duration::ZERO));
    }
}
