//! How many calls a caller may make: some at once, then so many a second.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Callers that are remembered before those are forgotten that have paused long enough.
const REMEMBERED: usize = 4096;

/// Limits each caller. For each it holds the time by which the calls made so far would have been made at the allowed rate; how far that
/// may lie ahead is what may be made at once.
#[derive(Debug)]
pub(super) struct Pace<Caller> {
    /// Between two calls at the allowed rate.
    between: Duration,
    /// How far ahead a caller may be.
    ahead: Duration,
    callers: Mutex<HashMap<Caller, Duration>>,
}

impl<Caller: Hash + Eq> Pace<Caller> {
    /// Calls a second, and as many at once. 0 is no limit.
    pub(super) fn new(a_second: u32) -> Self {
        let between = Duration::from_secs(1).checked_div(a_second).unwrap_or_default();
        Self { between, ahead: between * a_second, callers: Mutex::default() }
    }

    /// Whether a caller may make a call at a time, which is then counted; else how long to wait.
    pub(super) fn admit(&self, caller: Caller, now: Duration) -> Result<(), Duration> {
        if self.between.is_zero() {
            return Ok(());
        }
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= REMEMBERED && !callers.contains_key(&caller) {
            callers.retain(|_, made| *made > now);
        }
        let made = callers.get(&caller).map_or(now, |made| (*made).max(now)) + self.between;
        let wait = made.saturating_sub(now + self.ahead);
        if !wait.is_zero() {
            return Err(wait);
        }
        callers.insert(caller, made);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_caller_may_make_a_seconds_calls_at_once_and_then_as_many_a_second() {
        let pace = Pace::new(10);
        let made = |now: Duration| (0..100).take_while(|_| pace.admit("ann", now).is_ok()).count();
        assert_eq!(made(Duration::ZERO), 10);
        assert_eq!(pace.admit("ann", 40 * MS), Err(60 * MS));
        assert!(pace.admit("bob", 40 * MS).is_ok(), "each has a pace of its own");
        assert_eq!(made(350 * MS), 3);
        assert_eq!(made(60_000 * MS), 10, "a pause saves no more than one second");
    }

    #[test]
    fn no_limit_is_none_and_nobody_is_remembered_for_ever() {
        let none = Pace::new(0);
        assert!((0..10_000).all(|_| none.admit(0, Duration::ZERO).is_ok()));
        let pace = Pace::new(10);
        for caller in 0..3 * REMEMBERED {
            let now = MS * u32::try_from(caller).unwrap();
            assert!(pace.admit(caller, now).is_ok());
        }
        assert!(pace.callers.lock().unwrap().len() <= REMEMBERED);
    }
}
