//! Following a sweep to its end.

use proto::state::SweepState;
use proto::v1;

use super::Failure;
use super::connect::{Operator, answer, next};
use crate::output::Progress;

/// Shows the sweep's progress until it is over, and gives its last state.
pub(super) async fn follow(operator: &mut Operator, sweep: i64) -> Result<v1::Sweep, Failure> {
    let mut progress = Progress::new();
    let mut states = answer(operator.watch(v1::WatchRequest { sweep }).await)?;
    let mut last = None;
    while let Some(state) = next(&mut states).await? {
        progress.show(&state);
        last = Some(state);
    }
    progress.finish();
    match last {
        Some(sweep) if is_over(&sweep) => Ok(sweep),
        _ => Err(Failure::new("the coordinator stopped before the sweep was over")),
    }
}

/// Whether nothing of the sweep is left to do.
pub(super) fn is_over(sweep: &v1::Sweep) -> bool {
    sweep.state.parse::<SweepState>().is_ok_and(SweepState::is_terminal)
}
