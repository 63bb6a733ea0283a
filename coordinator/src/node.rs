//! One coordinator from its settings: the table with its lock, the object store, the planner, and serving until told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use coordinator_store::{SqlStore, StoreError};
use proto_kit::clock::SystemClock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use worker_artifacts::{ArtifactError, Artifacts};

use crate::config::Settings;
use crate::loops::{ServeError, Serving, serve};
use crate::plan::ManifestPlanner;
use crate::server;

/// Why a coordinator cannot start or go on: one line.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        cause: io::Error,
    },
    /// The job table cannot be opened.
    #[error(transparent)]
    Table(#[from] StoreError),
    /// The object store cannot be opened.
    #[error(transparent)]
    Store(#[from] ArtifactError),
    /// The server broke down.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// A coordinator that owns its table and listens, but does not answer yet.
pub struct Node {
    listener: TcpListener,
    address: SocketAddr,
    table: Arc<SqlStore>,
    serving: Serving,
}

impl Node {
    /// Opens table and store and binds `listen` (port 0: any free one).
    ///
    /// # Errors
    /// When another process has the table or the address, or a folder cannot be written.
    pub async fn open(settings: &Settings, listen: SocketAddr) -> Result<Self, NodeError> {
        let listening = |cause| NodeError::Listen { address: listen, cause };
        let listener = TcpListener::bind(listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let table = Arc::new(SqlStore::sqlite(&settings.database(), settings.policy()).await?);
        let artifacts = Artifacts::open(&settings.store())?;
        let told = server::Settings { policy: settings.policy(), ..server::Settings::new(artifacts.url()) };
        let serving = Serving {
            store: Arc::clone(&table) as _,
            planner: Arc::new(ManifestPlanner::new(artifacts)),
            clock: Arc::new(SystemClock::default()),
            settings: told,
        };
        Ok(Self { listener, address, table, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then closes the table.
    ///
    /// # Errors
    /// When the server breaks down.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let served = serve(self.listener, self.serving, shutdown).await;
        if let Some(table) = Arc::into_inner(self.table) {
            table.close().await;
        }
        Ok(served?)
    }
}
