//! `serve`: a coordinator until told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use proto_kit::telemetry;
use tokio_util::sync::CancellationToken;

use super::{Failure, signal};
use crate::config::{Flags, Settings};
use crate::node::Node;
use crate::output::tell;

/// What `serve` takes.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Settings file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address that workers and operators connect to.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Folder of job table and object store.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The job table: a file, or the URL of a Postgres database.
    #[arg(long, value_name = "FILE|URL")]
    database: Option<String>,
    /// Where others reach this coordinator, where several share a database.
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// The object store's URL or folder.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// What is logged: a level, or directives by module.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

pub(super) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let ServeArgs { config, listen, dir, database, address, store, log } = args;
    let settings = Settings::load(config.as_deref(), Flags { listen, dir, database, address, store, log })?;
    let filter = settings.log.as_deref().unwrap_or("info");
    let telemetry = telemetry::init("quiver-coordinator", settings.log_format, filter)?;
    let served = serve(&settings).await;
    telemetry.finish().await;
    served
}

async fn serve(settings: &Settings) -> Result<(), Failure> {
    let stopped = signal::stop()?;
    let node = Node::open(settings, settings.listen).await?;
    tell(&format!("listening on {}", node.address()));
    let shutdown = CancellationToken::new();
    let stopping = shutdown.clone();
    let (served, ()) = tokio::join!(
        async {
            let served = node.serve(shutdown.clone()).await;
            shutdown.cancel();
            served
        },
        async {
            if stopping.run_until_cancelled(stopped).await.is_some() {
                tell("stopping");
                stopping.cancel();
            }
        },
    );
    Ok(served?)
}
