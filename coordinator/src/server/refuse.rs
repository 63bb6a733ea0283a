//! How refusals look on the wire.

use coordinator_store::StoreError;
use proto::error::Reason;
use tonic::Status;

use super::planner::PlanError;

/// The status of a refusal by the job table.
pub(super) fn by_store(error: StoreError) -> Status {
    match &error {
        StoreError::StaleTerm { .. } => Reason::StaleTerm.refusal(&error),
        StoreError::StaleAttempt(_) => Reason::StaleAttempt.refusal(&error),
        StoreError::SessionLost(_) => Reason::SessionLost.refusal(&error),
        StoreError::Condemned(_) => Reason::Condemned.refusal(&error),
        StoreError::Superseded { .. } => Reason::Superseded.refusal(&error),
        StoreError::Needed { .. } => Status::failed_precondition(error.to_string()),
        StoreError::Taken(_) => Status::already_exists(error.to_string()),
        StoreError::Missing { .. } => Status::not_found(error.to_string()),
        StoreError::Database(_) | StoreError::InUse { .. } | StoreError::File { .. } => {
            tracing::warn!(%error, "the job table did not answer");
            Status::unavailable(error.to_string())
        }
        StoreError::UnknownNeed { .. }
        | StoreError::IllegalMove { .. }
        | StoreError::Migrate(_)
        | StoreError::Corrupt(_) => {
            tracing::error!(%error, "the job table is not as it should be");
            Status::internal(error.to_string())
        }
    }
}

/// The status of a refusal by the planner.
pub(super) fn by_planner(error: PlanError) -> Status {
    match error {
        PlanError::Invalid(line) => Status::invalid_argument(line),
        PlanError::Storage(line) => Status::unavailable(line),
    }
}

/// The status of a message that makes no sense: which field, and why.
pub(super) fn field(name: &str, why: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{name}: {why}"))
}
