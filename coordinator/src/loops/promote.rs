//! Makes jobs ready whose wait after a failure is over.

use crate::server::Context;

/// One pass.
pub(super) async fn promote(context: &Context) {
    match context.store.promote(context.stamp()).await {
        Ok(0) => {}
        Ok(jobs) => {
            tracing::debug!(jobs, "jobs may be tried again");
            context.jobs_moved();
        }
        Err(error) => tracing::warn!(%error, "cannot look for jobs to try again"),
    }
}
