//! Logs to standard error, in one of three forms. Standard output stays free for results.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Names of span fields, so that logs of all processes can be joined on them. Used as `info_span!("job", { field::JOB } = …)`.
pub mod field {
    /// The sweep's id.
    pub const SWEEP: &str = "sweep";
    /// The job's id.
    pub const JOB: &str = "job";
    /// The attempt's number.
    pub const ATTEMPT: &str = "attempt";
    /// The worker session's id.
    pub const WORKER: &str = "worker";
    /// The lane's number.
    pub const LANE: &str = "lane";
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Several lines an event, for reading along.
    Pretty,
    /// One line an event.
    #[default]
    Compact,
    /// One JSON object an event, for machines.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log filter `{filter}`: {reason}")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Logging was set up before.
    #[error("logging has been set up already")]
    Twice,
}

/// Sends this process's logs to standard error. `filter` is a level (`info`) or directives by module (`info,worker=debug`).
///
/// # Errors
/// When the filter does not parse, or logging was set up before.
pub fn init(format: Format, filter: &str) -> Result<(), TelemetryError> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|error| TelemetryError::Filter { filter: filter.to_owned(), reason: error.to_string() })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match format {
        Format::Pretty => builder.pretty().finish().try_init(),
        Format::Compact => builder.compact().finish().try_init(),
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    installed.map_err(|_| TelemetryError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_named() {
        let error = init(Format::Compact, "info,worker=loud").unwrap_err();
        assert!(error.to_string().starts_with("log filter `info,worker=loud`: "), "{error}");
    }
}
