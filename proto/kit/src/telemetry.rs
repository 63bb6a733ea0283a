//! Logs to standard error, in one of three forms, and spans to a collector where the environment names one. Standard output stays free
//! for results.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

use crate::trace::{self, Collector};

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
    /// The collector of traces cannot be used as the environment names it.
    #[error("traces: {0}")]
    Collector(String),
    /// Logging was set up before.
    #[error("logging has been set up already")]
    Twice,
}

/// What was set up.
#[derive(Debug)]
#[must_use = "spans that are not sent at the end are lost"]
pub struct Telemetry(Option<Collector>);

impl Telemetry {
    /// Sends the last spans, where there is a collector.
    pub async fn finish(self) {
        if let Some(collector) = self.0 {
            collector.finish().await;
        }
    }
}

/// Sends this process's logs to standard error, and its spans under the name `service` to the collector that the environment names.
/// `filter` is a level (`info`) or directives by module (`info,worker=debug`). Called within a runtime.
///
/// # Errors
/// When the filter does not parse, the collector's address makes no sense, or this was done before.
pub fn init(service: &'static str, format: Format, filter: &str) -> Result<Telemetry, TelemetryError> {
    init_to(trace::endpoint().as_deref(), service, format, filter)
}

/// The same, with the collector's address from the caller.
///
/// # Errors
/// As for [`init`].
pub fn init_to(
    collector: Option<&str>,
    service: &'static str,
    format: Format,
    filter: &str,
) -> Result<Telemetry, TelemetryError> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|error| TelemetryError::Filter { filter: filter.to_owned(), reason: error.to_string() })?;
    let collector = collector.map(|endpoint| Collector::at(endpoint, service)).transpose();
    let collector = collector.map_err(TelemetryError::Collector)?;
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        Format::Pretty => lines.pretty().boxed(),
        Format::Compact => lines.compact().boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let layers = registry().with(lines.with_filter(parsed)).with(collector.as_ref().map(Collector::layer));
    layers.try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(Telemetry(collector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_named() {
        let error = init("test", Format::Compact, "info,worker=loud").unwrap_err();
        assert!(error.to_string().starts_with("log filter `info,worker=loud`: "), "{error}");
    }

    #[tokio::test]
    async fn a_wrong_collector_is_named() {
        let error = init_to(Some("http://"), "test", Format::Compact, "info").unwrap_err().to_string();
        assert!(error.starts_with("traces: ") && error.contains("http://"), "{error}");
    }
}
