//! What goes wrong in a world: which kinds of faults there are and how often, drawn once from the seed, so that some worlds have only one
//! kind and others all.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Between a fault and the next at the machines and the network.
const PACE: (f64, f64) = (3.0, 20.0);

/// Odds of what happens to one call of the job table or the object store, and what befalls machines and links.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// A call fails and has done nothing.
    pub(crate) before: f64,
    /// A call is carried out, and its caller hears that it failed.
    pub(crate) after: f64,
    /// A call takes seconds.
    pub(crate) slow: f64,
    /// A call is carried out twice.
    pub(crate) twice: f64,
    /// A call is carried out again much later.
    pub(crate) late: f64,
    /// A call's machine dies while it waits for the answer.
    pub(crate) crash: f64,
    /// A runner dies, fails, or hangs in a step.
    pub(crate) runner: f64,
    /// What befalls machines and links.
    pub(crate) blows: Vec<Blow>,
    /// When it ends.
    pub(crate) until: Duration,
}

/// What befalls a machine or a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// A machine dies, and starts again after a while.
    Crash,
    /// Two machines do not reach each other.
    Cut,
    /// One machine does not reach another, which reaches it.
    CutOneWay,
    /// What is between two machines comes late.
    Hold,
    /// A machine stands still, longer than any lease.
    Freeze,
    /// Somebody sets a machine's clock.
    SetClock,
    /// A worker is told to leave, and starts again.
    Drain,
}

impl Blow {
    const ALL: [Self; 7] =
        [Self::Crash, Self::Cut, Self::CutOneWay, Self::Hold, Self::Freeze, Self::SetClock, Self::Drain];
}

impl Weather {
    /// The weather of a seed.
    pub(crate) fn draw(random: &mut ChaCha8Rng) -> Self {
        let mut odds = |most: f64| match random.random_bool(0.5) {
            true => random.random_range(0.0..most),
            false => 0.0,
        };
        let (before, after, slow) = (odds(0.1), odds(0.1), odds(0.05));
        let (twice, late, crash, runner) = (odds(0.2), odds(0.2), odds(0.01), odds(0.2));
        let blows = Blow::ALL.into_iter().filter(|_| random.random_bool(0.6)).collect();
        let until = Duration::from_secs(random.random_range(40..160));
        Self { before, after, slow, twice, late, crash, runner, blows, until }
    }

    /// When the next blow falls and which it is.
    pub(crate) fn next(&self, random: &mut ChaCha8Rng, now: Duration) -> Option<(Duration, Blow)> {
        let at = now + Duration::from_secs_f64(random.random_range(PACE.0..PACE.1));
        if self.blows.is_empty() || at >= self.until {
            return None;
        }
        Some((at, self.blows[random.random_range(0..self.blows.len())]))
    }
}
