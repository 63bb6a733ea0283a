//! What can go wrong between text and token ids.

use std::path::{Path, PathBuf};

/// Why text and ids cannot be turned into each other. File errors name the file.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The file cannot be read or written.
    #[error("{}: {cause}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not what its name promises, or lacks something.
    #[error("{}: {cause}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The tokenizer refuses a text or ids.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template refuses the messages.
    #[error("chat template: {0}")]
    Template(String),
}

impl TextError {
    pub(crate) fn io(file: &Path, cause: std::io::Error) -> Self {
        Self::Io { file: file.to_path_buf(), cause }
    }

    pub(crate) fn malformed(file: &Path, cause: impl ToString) -> Self {
        Self::Malformed { file: file.to_path_buf(), cause: cause.to_string() }
    }
}
