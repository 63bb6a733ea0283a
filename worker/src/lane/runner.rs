//! A lane's runner: started, greeted, buried, and given up when it hangs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Lane;
use super::jobs::{Assigned, Stage};
use crate::error::Error;

/// How long a runner may take from its start to its first word.
const HELLO: Duration = Duration::from_secs(120);

impl Lane {
    /// When the runner needs attention if nothing is heard of it.
    pub(super) fn runner_alarm(&self) -> Option<Instant> {
        match self.version {
            // An idle runner has nothing to say.
            Some(_) => self.obey_by.filter(|_| self.jobs.iter().any(Assigned::is_computing)),
            None if self.is_leaving() => None,
            None => Some(self.deadline),
        }
    }

    /// Starts a runner where there is none; gives up one that says nothing, or does not obey.
    pub(super) async fn mind_the_runner(&mut self) -> Result<(), Error> {
        if self.runner_alarm().is_none_or(|alarm| Instant::now() < alarm) {
            return Ok(());
        }
        if self.version.is_some() {
            return self.replace().await;
        }
        if self.runner.is_some() {
            tracing::error!("the runner did not say a word for {} s", HELLO.as_secs());
            return self.bury().await;
        }
        let (node, lane) = (Arc::clone(&self.node), self.id);
        let listener = Box::new(move |line: &str| node.logs.line(lane, line));
        let launched = self.node.launch.launch(&self.device, listener);
        let failed = |error: std::io::Error| self.did_not_start(error.to_string());
        self.runner = Some(launched.map_err(failed)?);
        self.deadline = Instant::now() + HELLO;
        Ok(())
    }

    /// The runner's first word.
    pub(super) fn greet(&mut self, device: &str, version: String) -> Result<(), Error> {
        if version != env!("CARGO_PKG_VERSION") {
            return Err(Error::Version { device: self.device.clone(), version });
        }
        tracing::info!(device, version, "the runner is up");
        self.version = Some(version);
        self.proven = true;
        Ok(())
    }

    /// The runner has ended: its jobs fail, and another is started after a while. Jobs that wait for one go on waiting.
    pub(super) async fn bury(&mut self) -> Result<(), Error> {
        let how = self.end_runner().await;
        if !self.proven {
            return Err(self.did_not_start(how));
        }
        tracing::error!(how, jobs = self.jobs.len(), "the runner died");
        self.node.metrics.runners_lost.inc();
        self.fail_running(&format!("the runner of device {} died: {how}", self.device));
        Ok(())
    }

    /// The runner was told to stop a job and has been silent since: it hangs, and is killed. What it has not begun is kept.
    async fn replace(&mut self) -> Result<(), Error> {
        let how = self.end_runner().await;
        for assigned in &mut self.jobs {
            if let Stage::Sent(start) = &assigned.stage {
                assigned.stage = Stage::Ready(start.clone());
            }
        }
        let patience = humantime::format_duration(self.node.stop_timeout);
        tracing::error!(how, "the runner did not obey a stop within {patience} and was killed");
        self.node.metrics.runners_lost.inc();
        let device = &self.device;
        self.fail_running(&format!(
            "the runner of device {device} did not obey a stop within {patience} and was killed: {how}"
        ));
        Ok(())
    }

    async fn end_runner(&mut self) -> String {
        (self.version, self.obey_by) = (None, None);
        // How long a start takes is no gap between jobs.
        self.freed.clear();
        let how = match self.runner.take() {
            Some(runner) => runner.end().await,
            None => String::new(),
        };
        self.deadline = Instant::now() + self.restarts.delay();
        how
    }

    fn did_not_start(&self, how: String) -> Error {
        Error::Runner { device: self.device.clone(), how }
    }
}
