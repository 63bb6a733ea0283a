//! Time as an argument: whoever needs the time is handed a [`Clock`], so that tests decide what time it is.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of wall-clock and monotonic time.
pub trait Clock: Debug + Send + Sync {
    /// Microseconds since 1970. May jump; never used to measure.
    fn now_micros(&self) -> i64;

    /// Time since some fixed moment of this process. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that moves only when told. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    elapsed: Arc<Mutex<Duration>>,
    start_micros: i64,
}

impl ManualClock {
    /// A clock that shows `start_micros` (microseconds since 1970).
    pub fn new(start_micros: i64) -> Self {
        Self { elapsed: Arc::default(), start_micros }
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        *self.elapsed.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for ManualClock {
    fn now_micros(&self) -> i64 {
        self.start_micros.saturating_add(i64::try_from(self.monotonic().as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        *self.elapsed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_both_times_together() {
        let clock = ManualClock::new(1_000_000);
        let other = clock.clone();
        clock.advance(Duration::from_millis(5));
        assert_eq!(other.now_micros(), 1_005_000);
        assert_eq!(other.monotonic(), Duration::from_millis(5));
    }

    #[test]
    fn the_system_clock_does_not_go_back() {
        let clock = SystemClock::default();
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
        assert!(clock.now_micros() > 0);
    }
}
