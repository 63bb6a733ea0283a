//! What a worker can be told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use proto_kit::telemetry::Format;
use serde::{Deserialize, Serialize};

/// A worker's settings: keys of the section `[worker]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// The coordinator's URL.
    pub(crate) coordinator: String,
    /// Devices to drive, one lane each.
    pub(crate) device: Vec<String>,
    /// This worker's name; made of host and folder when absent.
    pub(crate) name: Option<String>,
    /// The folder of cache and scratch files.
    pub(crate) dir: PathBuf,
    /// The runner's program; the one beside this program when absent.
    pub(crate) runner: Option<PathBuf>,
    /// How long to try to reach the coordinator at the start.
    #[serde(with = "proto_kit::human")]
    pub(crate) connect_timeout: Duration,
    /// How long a shutdown may take to commit what is finished and give back the rest.
    #[serde(with = "proto_kit::human")]
    pub(crate) shutdown_grace: Duration,
    /// What is logged: a level, or directives by module.
    pub(crate) log: String,
    /// How a log line looks.
    pub(crate) log_format: Format,
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
            shutdown_grace: Duration::from_secs(10),
            log: "info".to_owned(),
            log_format: Format::default(),
        }
    }
}

impl Settings {
    /// The runner's program, which must exist.
    pub(crate) fn runner(&self) -> anyhow::Result<PathBuf> {
        let beside = || {
            std::env::current_exe()
                .map(|own| own.with_file_name(format!("runner{}", std::env::consts::EXE_SUFFIX)))
        };
        let runner = match &self.runner {
            Some(runner) => runner.clone(),
            None => beside().context("where this program lies is unknown; name the runner by --runner")?,
        };
        ensure!(runner.is_file(), "there is no runner at {}; name one by --runner", runner.display());
        Ok(runner)
    }

    /// The devices, at least one, each named once.
    pub(crate) fn devices(&self) -> anyhow::Result<&[String]> {
        ensure!(
            !self.device.is_empty(),
            "no device to drive: name at least one by --device, such as --device cpu"
        );
        for (n, device) in self.device.iter().enumerate() {
            ensure!(!self.device.iter().take(n).any(|d| d == device), "device `{device}` is named twice");
        }
        Ok(&self.device)
    }

    /// The name under which the coordinator knows this worker from one start to the next.
    pub(crate) fn name(&self, dir: &Path) -> String {
        self.name.clone().unwrap_or_else(|| {
            let place = worker_artifacts::hash_bytes(dir.as_os_str().as_encoded_bytes()).digest;
            format!("{}-{}", host(), place.short())
        })
    }
}

/// This machine's name.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
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
}
