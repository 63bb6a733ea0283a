//! Brings the figures of the whole table up to date.

use std::time::Duration;

use tokio::time::timeout;

use crate::server::Context;

/// How long the table may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// One pass.
pub(super) async fn refresh(context: &Context) {
    let totals = timeout(PATIENCE, context.store.totals()).await;
    context.metrics.table_answers(matches!(totals, Ok(Ok(_))));
    match totals {
        Ok(Ok(totals)) => context.metrics.shows(&totals),
        Ok(Err(error)) => tracing::warn!(%error, "cannot count what the table holds"),
        Err(_) => tracing::warn!("the job table does not answer"),
    }
}
