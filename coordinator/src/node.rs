//! One coordinator from its settings: the table with its lock, the object store, the planner, and serving until told to stop.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use proto_kit::clock::SystemClock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use worker_artifacts::{ArtifactError, Artifacts};

use crate::access::Access;
use crate::config::{Settings, SettingsError};
use crate::door::{Door, Limits, Tls, TlsError};
use crate::loops::{ServeError, Serving, serve};
use crate::metrics::Metrics;
use crate::plan::ManifestPlanner;
use crate::reign::{Clocks, reign};
use crate::server;
use crate::table::{Table, TableError};

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
    Table(#[from] TableError),
    /// The object store cannot be opened.
    #[error(transparent)]
    Store(#[from] ArtifactError),
    /// Settings that do not go together.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Certificates that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server broke down.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Whom a coordinator is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The process that it lives in and that one's worker: a free port of the loopback, without tokens and TLS.
    Own,
    /// Others, as its settings say.
    Others,
}

/// A coordinator that has its table in reach and listens, but does not answer yet.
pub struct Node {
    door: Arc<Door>,
    address: SocketAddr,
    table: Table,
    clocks: Clocks,
    artifacts: Artifacts,
    settings: server::Settings,
    metrics: Arc<Metrics>,
}

impl Node {
    /// Opens table and store and listens.
    ///
    /// # Errors
    /// When another process has the table's file or the address, the database does not answer, a folder cannot be written, certificates
    /// cannot be used, or calls would go over a network in plain text.
    pub async fn open(settings: &Settings, reach: Reach) -> Result<Self, NodeError> {
        let (listen, tls, access) = match reach {
            Reach::Own => (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None, Access::Open),
            Reach::Others => (settings.listen, settings.tls()?, settings.access()),
        };
        let tls = tls.map(Tls::load).transpose()?;
        let listening = |cause| NodeError::Listen { address: listen, cause };
        let listener = TcpListener::bind(listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let table = Table::open(settings, address).await?;
        let artifacts = Artifacts::open(&settings.store())?;
        let metrics = Arc::<Metrics>::default();
        let limits = Limits { connections: settings.max_connections, greeting: settings.handshake_timeout };
        Ok(Self {
            door: Door::new(listener, tls, limits, Arc::clone(&metrics)),
            address,
            table,
            clocks: Clocks { ttl: settings.leader_ttl },
            settings: server::Settings {
                policy: settings.policy(),
                access,
                calls_per_second: settings.calls_per_second,
                ..server::Settings::new(artifacts.url())
            },
            artifacts,
            metrics,
        })
    }

    /// What it counts and measures.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
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
        let Self { door, table, clocks, artifacts, settings, metrics, .. } = self;
        let policy = settings.policy;
        let serving = |store| Serving {
            store,
            planner: Arc::new(ManifestPlanner::new(artifacts.clone())),
            artifacts: artifacts.clone(),
            clock: Arc::new(SystemClock::default()),
            settings: settings.clone(),
            metrics: Arc::clone(&metrics),
        };
        match table {
            Table::File(store) => {
                let store = Arc::new(store.observed(Arc::clone(&metrics) as _));
                let served = serve(door.incoming(), serving(Arc::clone(&store) as _), shutdown).await;
                if let Some(store) = Arc::into_inner(store) {
                    store.close().await;
                }
                Ok(served?)
            }
            Table::Cluster(leadership) => {
                let accept = || door.incoming();
                Ok(reign(accept, &leadership, clocks, policy, serving, &metrics, shutdown).await?)
            }
        }
    }
}
