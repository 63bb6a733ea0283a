//! Takes jobs back that run without getting on.

use crate::server::Context;

/// One pass.
pub(super) async fn stall(context: &Context) {
    match context.store.stall(context.stamp(), context.serving_since).await {
        Ok(0) => {}
        Ok(jobs) => {
            tracing::warn!(jobs, "jobs showed no progress for too long and are taken back");
            context.metrics.took_back("stalled", jobs);
            context.jobs_moved();
        }
        Err(error) => tracing::warn!(%error, "cannot look for jobs that stall"),
    }
}
