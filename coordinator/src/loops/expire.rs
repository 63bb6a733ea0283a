//! Takes the jobs of silent workers back.

use crate::server::Context;

/// One pass.
pub(super) async fn expire(context: &Context) {
    match context.store.expire(context.stamp(), context.serving_since).await {
        Ok(0) => {}
        Ok(jobs) => {
            tracing::warn!(jobs, "workers fell silent, their jobs are ready again");
            context.metrics.took_back("silent", jobs);
            context.jobs_moved();
        }
        Err(error) => tracing::warn!(%error, "cannot look for silent workers"),
    }
}
