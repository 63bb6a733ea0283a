//! One coordinator from its settings: the table with its lock, the object store, the planner, and serving until told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use coordinator_core::policy::Policy;
use coordinator_store::{Leadership, SqlStore, StoreError};
use futures::Stream;
use proto_kit::clock::SystemClock;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use worker_artifacts::{ArtifactError, Artifacts};

use crate::config::{Database, Settings, SettingsError};
use crate::loops::{ServeError, Serving, serve};
use crate::metrics::Metrics;
use crate::plan::ManifestPlanner;
use crate::reign::{Clocks, reign};
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
    /// The table's address makes no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The server broke down.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// A coordinator that has its table in reach and listens, but does not answer yet.
pub struct Node {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    table: Table,
    policy: Policy,
    clocks: Clocks,
    artifacts: Artifacts,
    metrics: Arc<Metrics>,
}

enum Table {
    /// In a file that this process owns.
    File(Arc<SqlStore>),
    /// In a database that it may have to share.
    Cluster(Arc<Leadership>),
}

impl Node {
    /// Opens table and store and binds `listen` (port 0: any free one).
    ///
    /// # Errors
    /// When another process has the table's file or the address, the database does not answer, or a folder cannot be written.
    pub async fn open(settings: &Settings, listen: SocketAddr) -> Result<Self, NodeError> {
        let listening = |cause| NodeError::Listen { address: listen, cause };
        let listener = TcpListener::bind(listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let (policy, clocks) = (settings.policy(), Clocks { ttl: settings.leader_ttl });
        let metrics = Arc::<Metrics>::default();
        let table = match settings.database()? {
            Database::File(path) => {
                let store = SqlStore::sqlite(&path, policy).await?;
                Table::File(Arc::new(store.observed(Arc::clone(&metrics) as _)))
            }
            Database::Postgres(url) => {
                let (holder, own) = (Uuid::now_v7().to_string(), settings.address(address));
                Table::Cluster(Leadership::open(&url, holder, own, clocks.ttl).await?)
            }
        };
        let artifacts = Artifacts::open(&settings.store())?;
        Ok(Self { listener: Arc::new(listener), address, table, policy, clocks, artifacts, metrics })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then closes the table. One that shares its table serves while it leads.
    ///
    /// # Errors
    /// When the server breaks down.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let Self { listener, table, policy, clocks, artifacts, metrics, .. } = self;
        let serving = |store| Serving {
            store,
            planner: Arc::new(ManifestPlanner::new(artifacts.clone())),
            artifacts: artifacts.clone(),
            clock: Arc::new(SystemClock::default()),
            settings: server::Settings { policy, ..server::Settings::new(artifacts.url()) },
            metrics: Arc::clone(&metrics),
        };
        match table {
            Table::File(store) => {
                let served = serve(incoming(&listener), serving(Arc::clone(&store) as _), shutdown).await;
                if let Some(store) = Arc::into_inner(store) {
                    store.close().await;
                }
                Ok(served?)
            }
            Table::Cluster(leadership) => {
                let accept = || incoming(&listener);
                Ok(reign(accept, &leadership, clocks, policy, serving, &metrics, shutdown).await?)
            }
        }
    }
}

/// The connections that a listener accepts.
fn incoming(listener: &Arc<TcpListener>) -> impl Stream<Item = io::Result<TcpStream>> + use<> {
    futures::stream::unfold(Arc::clone(listener), |listener| async move {
        let accepted = listener.accept().await.and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        Some((accepted, listener))
    })
}
