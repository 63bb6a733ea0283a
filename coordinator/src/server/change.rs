//! What an operator may do to jobs of a sweep.

use coordinator_store::StoreError;
use coordinator_store::model::Selection;
use proto::state::JobState;
use proto::v1;
use tonic::{Response, Status};

use super::{Context, refuse};

/// A change of some jobs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// End them without a result.
    Cancel,
    /// Give them a fresh budget.
    Retry,
    /// Go on without their results.
    Waive,
}

impl Change {
    /// Whether it can touch a job in this state.
    pub(super) fn touches(self, state: JobState) -> bool {
        match self {
            Self::Cancel => !state.is_terminal(),
            Self::Retry => state.is_terminal() && state != JobState::Succeeded,
            Self::Waive => state.may_become(JobState::Skipped),
        }
    }

    /// Carries it out.
    pub(super) async fn carry_out(
        self,
        context: &Context,
        selection: Selection,
    ) -> Result<Response<v1::SelectReply>, Status> {
        let sweep = selection.sweep;
        let changed = self.write(context, selection).await.map_err(refuse::by_store)?;
        tracing::info!(%sweep, changed, change = ?self, "jobs changed");
        context.jobs_moved();
        Ok(Response::new(v1::SelectReply { changed, ..Default::default() }))
    }

    async fn write(self, context: &Context, selection: Selection) -> Result<u64, StoreError> {
        let (store, at) = (&context.store, context.stamp());
        match self {
            Self::Cancel => store.cancel(at, selection).await,
            Self::Retry => store.retry(at, selection).await,
            Self::Waive => store.waive(at, selection).await,
        }
    }
}
