//! Why the job table refuses a call.

use std::path::PathBuf;

use proto::id::{Digest, JobId, JobKey, Term, WorkerId};
use proto::pipe::Task;
use proto::state::JobState;

/// Result of a call to the job table.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why a call changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller believes in a coordinator that no longer reigns.
    #[error("a write of term {given} is refused in term {current}")]
    StaleTerm {
        /// The term that the write names.
        given: Term,
        /// The term that reigns.
        current: Term,
    },
    /// The attempt is not, or no longer, the job's newest living one.
    #[error("attempt {} of job {} is no longer its newest", .0.attempt, .0.job)]
    StaleAttempt(Task),
    /// The session's lease ran out; register again with what is held.
    #[error("the session of worker {0} has ended, register again")]
    SessionLost(WorkerId),
    /// A newer process of the same name has taken this one's place.
    #[error("worker `{name}` has been replaced by a newer process, incarnation {incarnation} may not return")]
    Superseded {
        /// The worker's name.
        name: String,
        /// The old process.
        incarnation: String,
    },
    /// The garbage collector is about to delete what the result names.
    #[error("blob {0} is about to be deleted: upload it again, then commit again")]
    Condemned(Digest),
    /// A name can be given once.
    #[error("there is or was a token `{0}` already")]
    Taken(String),
    /// A planned job needs one that the plan lacks.
    #[error("job `{label}` needs {key}, which is no job of its sweep")]
    UnknownNeed {
        /// The job that needs.
        label: String,
        /// What it needs.
        key: JobKey,
    },
    /// A waived job's result is one that another job cannot do without.
    #[error("job `{label}` cannot be waived: `{by}` needs what it makes")]
    Needed {
        /// The job that should be waived.
        label: String,
        /// The job that needs it.
        by: String,
    },
    /// A decision asked for a move that the state machine forbids.
    #[error("job {job} may not go from {from} to {to}")]
    IllegalMove {
        /// The job.
        job: JobId,
        /// Where it stands.
        from: JobState,
        /// Where it should go.
        to: JobState,
    },
    /// A row that was just read under the same lock is not there.
    #[error("the table holds no {what}")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// Another process owns the database file.
    #[error("{path} is in use by process {holder}")]
    InUse {
        /// The database.
        path: PathBuf,
        /// Its owner's process id, as far as it is known.
        holder: String,
    },
    /// The database's folder or lock file cannot be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The database failed.
    #[error("job table: {0}")]
    Database(#[from] sqlx::Error),
    /// The database cannot be brought to this version's schema.
    #[error("cannot migrate the job table: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A stored value has no meaning.
    #[error("the table holds a value without meaning: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// A stored text that does not parse.
    pub(crate) fn corrupt(error: impl std::fmt::Display) -> Self {
        Self::Corrupt(error.to_string())
    }

    /// A row that should be there.
    pub(crate) fn missing(what: impl Into<String>) -> Self {
        Self::Missing { what: what.into() }
    }
}
