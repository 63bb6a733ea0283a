//! What a worker can be told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use humantime::format_duration;
use proto_kit::telemetry::Format;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::size::Size;

/// A worker's settings: keys of the section `[worker]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The coordinator's address; several with commas between.
    pub coordinator: String,
    /// Devices to drive, one lane each.
    pub device: Vec<String>,
    /// This worker's name; made of host and folder when absent.
    pub name: Option<String>,
    /// The folder of cache and scratch files.
    pub dir: PathBuf,
    /// The runner's program; the one beside this program when absent.
    pub runner: Option<PathBuf>,
    /// How long to try to reach the coordinator at the start.
    #[serde(with = "proto_kit::human")]
    pub connect_timeout: Duration,
    /// How long the coordinator may be away before the worker gives up.
    #[serde(with = "proto_kit::human")]
    pub orphan_grace: Duration,
    /// How long a drain before leaving may take, its last part for checkpoints.
    #[serde(with = "proto_kit::human")]
    pub drain_grace: Duration,
    /// How long this process may run; it drains so that it has left by then.
    #[serde(with = "proto_kit::human::optional")]
    pub time_limit: Option<Duration>,
    /// How long a runner may take to obey a stop before it is killed.
    #[serde(with = "proto_kit::human")]
    pub stop_timeout: Duration,
    /// Free disk space below which no jobs are taken.
    pub min_free_disk: Size,
    /// How much inputs may take that no job reads any more.
    pub cache_limit: Option<Size>,
    /// Address at which monitors read this worker's figures; nothing listens when absent.
    pub metrics: Option<SocketAddr>,
    /// What is logged: a level, or directives by module.
    pub log: String,
    /// How a log line looks.
    pub log_format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            coordinator: "http://127.0.0.1:7700".to_owned(),
            device: Vec::new(),
            name: None,
            dir: PathBuf::from("quiver-data/worker"),
            runner: None,
            connect_timeout: Duration::from_secs(10),
            orphan_grace: Duration::from_secs(3600),
            drain_grace: Duration::from_secs(15),
            time_limit: None,
            stop_timeout: Duration::from_secs(120),
            min_free_disk: Size(2 << 30),
            cache_limit: None,
            metrics: None,
            log: "info".to_owned(),
            log_format: Format::default(),
        }
    }
}

impl Settings {
    /// Checks what no single value can tell.
    ///
    /// # Errors
    /// With the first setting that makes no sense.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |reason: &str| Err(Error::Setting(reason.to_owned()));
        if self.device.is_empty() {
            return wrong("no device to drive: name at least one by --device, such as --device cpu");
        }
        for (n, device) in self.device.iter().enumerate() {
            if self.device.iter().take(n).any(|d| d == device) {
                return wrong(&format!("device `{device}` is named twice"));
            }
        }
        if self.name.as_ref().is_some_and(|name| name.trim().is_empty()) {
            return wrong("`name` is empty; leave it out for one made of host and folder");
        }
        for (key, value) in [("orphan_grace", self.orphan_grace), ("stop_timeout", self.stop_timeout)] {
            if value.is_zero() {
                return wrong(&format!("`{key}` is 0; the shortest that makes sense is some seconds"));
            }
        }
        match self.time_limit {
            Some(limit) if limit <= self.drain_grace => {
                let (limit, grace) = (format_duration(limit), format_duration(self.drain_grace));
                wrong(&format!("`time_limit` ({limit}) must be longer than `drain_grace` ({grace})"))
            }
            _ => Ok(()),
        }
    }

    /// The runner's program, which must exist.
    ///
    /// # Errors
    /// When it does not.
    pub fn runner(&self) -> Result<PathBuf, Error> {
        let beside = || -> Result<PathBuf, Error> {
            let own = std::env::current_exe().map_err(|error| {
                Error::Setting(format!(
                    "where this program lies is unknown ({error}); name the runner by --runner"
                ))
            })?;
            Ok(own.with_file_name(format!("runner{}", std::env::consts::EXE_SUFFIX)))
        };
        let runner = self.runner.clone().map_or_else(beside, Ok)?;
        if runner.is_file() {
            return Ok(runner);
        }
        Err(Error::Setting(format!("there is no runner at {}; name one by --runner", runner.display())))
    }

    /// The name under which the coordinator knows this worker from one start to the next.
    pub(crate) fn name(&self, host: &str, dir: &Path) -> String {
        self.name.clone().unwrap_or_else(|| {
            let place = worker_artifacts::hash_bytes(dir.as_os_str().as_encoded_bytes()).digest;
            format!("{host}-{}", place.short())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_names_every_setting_with_its_default() {
        let manual = include_str!("../../docs/configuration.md");
        assert_eq!(proto_kit::manual::mistakes(manual, "Worker", Settings::default()), Vec::<String>::new());
    }

    #[test]
    fn the_settings_of_a_cluster_are_understood() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/quiver.toml");
        let flags = std::collections::BTreeMap::<String, String>::new();
        let settings: Settings =
            proto_kit::config::load_section("worker", Some(file.as_ref()), flags).unwrap();
        assert_eq!((settings.device.len(), settings.drain_grace), (8, Duration::from_secs(120)));
    }
}
