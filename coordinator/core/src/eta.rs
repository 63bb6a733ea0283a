//! When a sweep will end, as an interval: the width says how little has been measured.

use std::time::Duration;

/// How far the cost of the work to come may lie from the mean cost of the work done.
const SPREAD: f64 = 1.25;

/// What is done and left of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageWork {
    /// Work of committed jobs: their planned tokens plus one each.
    pub done: f64,
    /// Device time that it took, in milliseconds.
    pub done_ms: u64,
    /// Work left, without what running jobs have done.
    pub left: f64,
    /// Jobs left: they bound how many lanes can help.
    pub jobs_left: u64,
}

/// Time until the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eta {
    /// It hardly ends sooner.
    pub low: Duration,
    /// It hardly ends later.
    pub high: Duration,
}

/// Estimates the end from the measured cost of each stage, run one after another on `lanes` lanes. A stage without a measurement may cost
/// as little or as much as any measured one. Nothing measured, or no lane: no estimate.
pub fn estimate(stages: &[StageWork], lanes: u32) -> Option<Eta> {
    let costs: Vec<_> = stages.iter().map(cost).collect();
    let known = || costs.iter().flatten().copied();
    let cheapest = known().min_by(f64::total_cmp)?;
    let dearest = known().max_by(f64::total_cmp)?;
    if lanes == 0 {
        return None;
    }
    let (mut low, mut high) = (0.0, 0.0);
    for (stage, cost) in stages.iter().zip(&costs) {
        let helping = stage.jobs_left.clamp(1, u64::from(lanes)) as f64;
        low += stage.left * cost.unwrap_or(cheapest) / SPREAD / helping;
        high += stage.left * cost.unwrap_or(dearest) * SPREAD / helping;
    }
    let duration = |ms: f64| Duration::try_from_secs_f64(ms / 1e3).unwrap_or(Duration::MAX);
    Some(Eta { low: duration(low), high: duration(high) })
}

/// Milliseconds per unit of work.
fn cost(stage: &StageWork) -> Option<f64> {
    (stage.done > 0.0 && stage.done_ms > 0).then(|| stage.done_ms as f64 / stage.done)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_measured_gives_no_estimate() {
        let fresh = StageWork { left: 100.0, jobs_left: 3, ..StageWork::default() };
        assert_eq!(estimate(&[fresh], 2), None);
        assert_eq!(estimate(&[], 2), None);
        let measured = StageWork { done: 10.0, done_ms: 10, ..fresh };
        assert_eq!(estimate(&[measured], 0), None);
    }

    #[test]
    fn lanes_help_only_as_many_jobs_as_are_left() {
        let stage = StageWork { done: 10.0, done_ms: 10_000, left: 10.0, jobs_left: 1 };
        let one = estimate(&[stage], 1).unwrap();
        assert_eq!(estimate(&[stage], 8).unwrap(), one);
        assert_eq!(one, Eta { low: Duration::from_secs(8), high: Duration::from_millis(12_500) });
        let two = estimate(&[StageWork { jobs_left: 2, ..stage }], 8).unwrap();
        assert_eq!(two.low * 2, one.low);
    }

    proptest! {
        #[test]
        fn an_interval_is_ordered(work in proptest::collection::vec((0u32..9, 0u64..9, 0u32..9, 0u64..9), 1..6), lanes in 1u32..9) {
            let stages: Vec<_> = work
                .iter()
                .map(|(done, done_ms, left, jobs_left)| StageWork {
                    done: f64::from(*done),
                    done_ms: *done_ms,
                    left: f64::from(*left),
                    jobs_left: *jobs_left,
                })
                .collect();
            if let Some(eta) = estimate(&stages, lanes) {
                prop_assert!(eta.low <= eta.high);
            }
        }
    }
}
