//! A real coordinator in a process of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proto::v1;
use proto::v1::fleet_client::FleetClient;
use proto::v1::operator_client::OperatorClient;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

use crate::database::Database;
use crate::tell;

/// Largest answer that is read.
const LARGEST: usize = 256 << 20;

/// A coordinator that serves.
pub(crate) struct Coordinator {
    process: Child,
    pub(crate) url: String,
}

impl Coordinator {
    /// Starts one over a database, on any free port, and waits until it serves.
    pub(crate) async fn start(database: &Database) -> Result<Self> {
        let coordinator = Self::launch(database, 0).await?;
        coordinator.serves().await?;
        Ok(coordinator)
    }

    /// Starts one on a port and waits until it listens; it may stand by.
    pub(crate) async fn launch(database: &Database, port: u16) -> Result<Self> {
        let mut command = Command::new(program("coordinator")?);
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--open", "--log", "warn"]);
        command.args(["--database", &database.address(), "--dir"]).arg(database.folder());
        command.env("QUIVER_CALLS_PER_SECOND", "0");
        let mut process = clean(&mut command).stderr(Stdio::piped()).spawn()?;
        let stderr = process.stderr.take().context("the coordinator has no standard error")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        while let Some(line) = lines.next_line().await? {
            if let Some((_, address)) = line.split_once("listening on ") {
                let url = format!("http://{address}");
                tokio::spawn(async move {
                    while let Ok(Some(line)) = lines.next_line().await {
                        tell(&line);
                    }
                });
                return Ok(Self { process, url });
            }
            said.push(line);
        }
        bail!("the coordinator ended: {}", said.join(" "))
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> Result<u16> {
        let port = self.url.rsplit(':').next().context("no port")?;
        Ok(port.parse()?)
    }

    /// Waits until it leads.
    pub(crate) async fn serves(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        let mut operator = self.operator().await?;
        while let Err(refused) = operator.hello(v1::HelloRequest {}).await {
            if Instant::now() > end {
                bail!("the coordinator does not serve: {}", refused.message());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// A client for operators.
    pub(crate) async fn operator(&self) -> Result<OperatorClient<Channel>> {
        let channel = Endpoint::from_shared(self.url.clone())?.connect().await?;
        Ok(OperatorClient::new(channel).max_decoding_message_size(LARGEST))
    }

    /// A client for workers, with a connection of its own.
    pub(crate) fn fleet(&self) -> Result<FleetClient<Channel>> {
        let endpoint = Endpoint::from_shared(self.url.clone())?.tcp_nodelay(true);
        Ok(FleetClient::new(endpoint.connect_lazy()).max_decoding_message_size(LARGEST))
    }

    /// Its resident memory now and at its largest, in MiB.
    pub(crate) fn memory(&self) -> Result<(f64, f64)> {
        let id = self.process.id().context("the coordinator has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find(|line| line.starts_with(name)).context("no such figure")?;
            let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
            Ok(kib / 1024.0)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// Ends it without a warning, as a power failure would.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Ends it in good order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let id = self.process.id().context("the coordinator has ended")?;
        Command::new("kill").arg(id.to_string()).status().await?;
        self.process.wait().await?;
        Ok(())
    }
}

/// A program of this workspace, built beside this one.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.is_file() {
        Ok(path)
    } else {
        bail!("{} is not built; bench/control-plane/run builds it", path.display())
    }
}

/// Without the caller's settings; the process ends with this one.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUIVER_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true)
}
