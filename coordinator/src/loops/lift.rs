//! Lets commits name again what the garbage collector deleted long enough ago.

use crate::garbage;
use crate::server::Context;

/// One pass.
pub(super) async fn lift(context: &Context) {
    match garbage::lift(&*context.store, context.stamp(), context.serving_since).await {
        Ok(0) => {}
        Ok(marks) => tracing::debug!(marks, "deleted objects may be written again"),
        Err(error) => tracing::warn!(%error, "cannot lift the marks of deleted objects"),
    }
}
