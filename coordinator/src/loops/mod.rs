//! Background work, and the one function that wires table, planner, services and loops together. A loop is a function that may run at any
//! time and any number of times; a timer runs it.

mod expire;
mod lift;
mod progress;
mod promote;
mod serve;
mod stall;
mod totals;

pub(crate) use serve::parting;
pub use serve::{ServeError, Serving, serve};

use std::future::Future;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Runs `pass` on a timer until shutdown.
async fn every<F: Future<Output = ()>>(
    period: Duration,
    shutdown: CancellationToken,
    mut pass: impl FnMut() -> F,
) {
    let mut timer = interval(period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(timer.tick()).await.is_some() {
        pass().await;
    }
}
