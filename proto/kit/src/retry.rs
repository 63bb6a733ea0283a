//! Trying again: delays that grow and are spread by a seeded generator, up to a deadline.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep};

/// Delays between tries: they double from `base` to `cap`; each is drawn from the upper half of its range, so that many clients
/// that lost the same server do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    next: Duration,
    random: ChaCha8Rng,
}

impl Backoff {
    /// Delays from `base` to `cap`; `seed` decides the jitter.
    pub fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        Self { base, cap, next: base.min(cap), random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The delay before the next try.
    pub fn delay(&mut self) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.cap);
        full.mul_f64(self.random.random_range(0.5..=1.0))
    }

    /// Starts from the shortest delay again, after a success.
    pub fn reset(&mut self) {
        self.next = self.base.min(self.cap);
    }
}

/// Calls `operation` until it succeeds, fails with an error that `retryable` refuses, or the next try would begin after `within`.
///
/// # Errors
/// The last error of `operation`.
pub async fn retry<T, E, F: Future<Output = Result<T, E>>>(
    mut backoff: Backoff,
    within: Duration,
    retryable: impl Fn(&E) -> bool,
    mut operation: impl FnMut() -> F,
) -> Result<T, E> {
    let deadline = Instant::now() + within;
    loop {
        match operation().await {
            Ok(value) => return Ok(value),
            Err(error) => {
                let delay = backoff.delay();
                if !retryable(&error) || Instant::now() + delay >= deadline {
                    return Err(error);
                }
                sleep(delay).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn delays_grow_to_the_cap_and_equal_seeds_give_equal_delays() {
        let mut one = Backoff::new(100 * MS, 450 * MS, 7);
        let mut two = one.clone();
        let delays: Vec<_> = (0..6).map(|_| one.delay()).collect();
        assert_eq!(delays, (0..6).map(|_| two.delay()).collect::<Vec<_>>());
        for (delay, full) in delays.iter().zip([100, 200, 400, 450, 450, 450]) {
            assert!(*delay >= full * MS / 2 && *delay <= full * MS, "{delay:?} of {full}");
        }
        one.reset();
        assert!(one.delay() <= 100 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn success_ends_the_tries() {
        let mut tries = 0;
        let result = retry(
            Backoff::new(MS, MS, 0),
            100 * MS,
            |_: &&str| true,
            || {
                tries += 1;
                std::future::ready(if tries == 3 { Ok(tries) } else { Err("no") })
            },
        );
        assert_eq!(result.await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_and_a_final_error_end_the_tries() {
        let began = Instant::now();
        let late = retry(
            Backoff::new(10 * MS, 10 * MS, 0),
            95 * MS,
            |_: &&str| true,
            || std::future::ready(Err::<(), _>("no")),
        );
        assert_eq!(late.await, Err("no"));
        assert!(began.elapsed() < 95 * MS && began.elapsed() > 50 * MS);

        let mut tries = 0;
        let refused = retry(
            Backoff::new(MS, MS, 0),
            100 * MS,
            |_: &&str| false,
            || {
                tries += 1;
                std::future::ready(Err::<(), _>("never"))
            },
        );
        assert_eq!(refused.await, Err("never"));
        assert_eq!(tries, 1);
    }
}
