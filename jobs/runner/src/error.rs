//! Why a job failed, as the worker and the operator see it: a code and one line.

use std::fmt::Display;

use proto::error::ErrorCode;

/// The end of a job without a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// It failed.
    #[error("{message}")]
    Failed {
        /// What kind of failure.
        code: ErrorCode,
        /// One line with cause and place.
        message: String,
    },
    /// The worker asked to drop it.
    #[error("stopped")]
    Stopped,
}

impl JobError {
    /// A failure with a code; the message is forced into one line.
    pub(crate) fn new(code: ErrorCode, message: impl Display) -> Self {
        Self::Failed { code, message: message.to_string().replace('\n', " ") }
    }

    /// Input that cannot be used.
    pub(crate) fn data(message: impl Display) -> Self {
        Self::new(ErrorCode::Data, message)
    }

    /// Settings that cannot be carried out.
    pub(crate) fn spec(message: impl Display) -> Self {
        Self::new(ErrorCode::Spec, message)
    }

    /// A file that cannot be read or written.
    pub(crate) fn storage(message: impl Display) -> Self {
        Self::new(ErrorCode::Storage, message)
    }
}

impl From<jobs_paratool::Failure> for JobError {
    fn from(failure: jobs_paratool::Failure) -> Self {
        match failure.code() {
            Some(code) => Self::new(code, failure),
            None => Self::Stopped,
        }
    }
}
