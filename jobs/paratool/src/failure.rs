//! Why a stage ended without a result.

use std::fmt::Display;

use jobs_data::DataError;
use jobs_lora::peft::PeftError;
use jobs_text::TextError;
use proto::error::ErrorCode;

/// The end of a stage without a result. Each message is one line with cause and place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An input cannot be used.
    #[error("{0}")]
    Data(String),
    /// The settings cannot be carried out.
    #[error("{0}")]
    Spec(String),
    /// A loss or gradient is not finite.
    #[error("{0}")]
    NonFinite(String),
    /// A file cannot be read or written.
    #[error("{0}")]
    Storage(String),
    /// [`crate::Progress::should_stop`] said so.
    #[error("stopped")]
    Stopped,
}

impl Failure {
    /// The code under which the control plane records it; `None` for a stop, which is no failure.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Data(_) => Some(ErrorCode::Data),
            Self::Spec(_) => Some(ErrorCode::Spec),
            Self::NonFinite(_) => Some(ErrorCode::NonFinite),
            Self::Storage(_) => Some(ErrorCode::Storage),
            Self::Stopped => None,
        }
    }

    pub(crate) fn data(cause: impl Display) -> Self {
        Self::Data(cause.to_string())
    }

    pub(crate) fn spec(cause: impl Display) -> Self {
        Self::Spec(cause.to_string())
    }

    pub(crate) fn storage(cause: impl Display) -> Self {
        Self::Storage(cause.to_string())
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Io { .. } => Self::storage(error),
            other => Self::data(other),
        }
    }
}

impl From<TextError> for Failure {
    fn from(error: TextError) -> Self {
        Self::data(error)
    }
}

impl From<PeftError> for Failure {
    fn from(error: PeftError) -> Self {
        match error {
            PeftError::Io { .. } => Self::storage(error),
            other => Self::data(other),
        }
    }
}
