//! How the learning rate changes over a training.

use serde::{Deserialize, Serialize};

/// Linear warm-up, then constant or falling linearly to zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Steps until the full rate; the first step has rate `1 / warmup` of it.
    pub warmup: u64,
    /// What follows the warm-up.
    pub decay: Decay,
}

/// The part of a [`Schedule`] behind the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// The full rate to the end.
    #[default]
    Constant,
    /// A straight line to zero, which the step after the last one would reach.
    Linear,
}

impl Schedule {
    /// The factor of the learning rate in step `step` (from 0) of `total`, in 0..=1.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => {
                let length = total.saturating_sub(self.warmup).max(1);
                total.saturating_sub(step) as f64 / length as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Decay, Schedule};

    #[test]
    fn rises_then_holds_or_falls() {
        let factors = |schedule: Schedule| (0..6).map(|step| schedule.factor(step, 6)).collect::<Vec<_>>();
        assert_eq!(factors(Schedule::default()), [1.0; 6]);
        let held = Schedule { warmup: 2, decay: Decay::Constant };
        assert_eq!(factors(held), [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let falling = Schedule { warmup: 2, decay: Decay::Linear };
        assert_eq!(factors(falling), [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]);
    }
}
