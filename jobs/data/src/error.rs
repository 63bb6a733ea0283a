//! What can be wrong with data, and where.

use std::io;
use std::path::{Path, PathBuf};

/// Why data could not be read or made. Every message is one line.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line breaks the format.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The field at fault and what is wrong with it.
        problem: Problem,
    },
    /// A file that must have content is empty.
    #[error("{}: no line in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A BFCL file is missing or broken.
    #[error(transparent)]
    Bfcl(#[from] jobs_eval::bfcl::DataError),
    /// A file that is one JSON document breaks its format.
    #[error("{}: {problem}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// The field at fault and what is wrong with it.
        problem: Problem,
    },
    /// A folder of records holds none of the six categories.
    #[error("{}: none of the files multiple.jsonl, parallel.jsonl, … is here", path.display())]
    NoRecords {
        /// The folder.
        path: PathBuf,
    },
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct Problem {
    /// Path of the field, e.g. `function[0].training_data[3].answer`.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

impl Problem {
    /// A problem of one field.
    pub fn new(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { field: field.into(), what: what.into() }
    }

    /// The same problem seen from an enclosing object: `outer.field`.
    pub fn under(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), ..self }
    }

    /// The problem with its place.
    pub fn at(self, path: &Path, line: usize) -> DataError {
        DataError::Line { path: path.to_owned(), line, problem: self }
    }
}
