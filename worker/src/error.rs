//! Why a worker ends otherwise than in good order: one line each.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use proto::error::Reason;
use worker_artifacts::ArtifactError;

use crate::fleet::CallError;

/// Why a worker cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that makes no sense.
    #[error("{0}")]
    Setting(String),
    /// A folder that cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Folder {
        /// The verb.
        action: &'static str,
        /// The folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Another worker uses the folder.
    #[error("another worker uses the folder {}; name another by --dir", .0.display())]
    FolderTaken(PathBuf),
    /// The store or the cache cannot be opened.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// The coordinator cannot be reached at the start, or does not want this worker.
    #[error(transparent)]
    Coordinator(#[from] CallError),
    /// The coordinator was away for too long.
    #[error(
        "no contact with the coordinator for {}; what was computed has no owner any more ({cause})",
        humantime::format_duration(Duration::from_secs(away.as_secs()))
    )]
    Orphaned {
        /// For how long.
        away: Duration,
        /// Why the last call failed.
        cause: CallError,
    },
    /// No runner for a device can be started.
    #[error("the runner for `{device}` did not start: {how}")]
    Runner {
        /// The device.
        device: String,
        /// How it ended.
        how: String,
    },
    /// Worker and runner come from different builds.
    #[error(
        "the runner for `{device}` is of version {version}, this worker of {}: install both from one build",
        env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// The device.
        device: String,
        /// The runner's version.
        version: String,
    },
    /// A part of the worker panicked.
    #[error("a part of the worker broke down: {0}")]
    Broken(#[from] tokio::task::JoinError),
    /// The worker ended before everything was given back; the coordinator finds out when the lease runs out.
    #[error("ended with {0} attempts not given back")]
    Left(usize),
}

impl Error {
    /// The exit code of a process that ends so; `docs/configuration.md` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Orphaned { .. } => 3,
            Self::Coordinator(CallError::Refused(Reason::Superseded, _)) => 4,
            Self::Left(_) => 5,
            Self::Setting(_)
            | Self::Folder { .. }
            | Self::FolderTaken(_)
            | Self::Artifacts(_)
            | Self::Coordinator(_)
            | Self::Runner { .. }
            | Self::Version { .. }
            | Self::Broken(_) => 1,
        }
    }

    /// Wraps what the system said while doing `action` to a folder.
    pub(crate) fn folder(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::Folder { action, path: path.to_owned(), source }
    }
}
