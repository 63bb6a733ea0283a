//! Writes progress down that heartbeats brought.

use crate::server::Context;

/// One pass.
pub(super) async fn flush(context: &Context) {
    let progress: Vec<_> = context.unwritten_progress().into_iter().collect();
    if progress.is_empty() {
        return;
    }
    match context.store.record_progress(context.stamp(), progress.clone()).await {
        Ok(()) => context.progress_written(&progress),
        Err(error) => tracing::warn!(%error, "cannot write progress down"),
    }
}
