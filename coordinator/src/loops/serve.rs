//! Serving: from a listener to a clean stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use coordinator_core::time::Micros;
use coordinator_store::{Store, StoreError};
use futures::Stream;
use proto::state::Role;
use proto::v1::fleet_server::FleetServer;
use proto::v1::operator_server::OperatorServer;
use proto_kit::clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use worker_artifacts::Artifacts;

use super::{every, expire, lift, progress, promote, stall, totals};
use crate::access::{Access, Guard, guarded};
use crate::metrics::Metrics;
use crate::server::planner::Planner;
use crate::server::{Context, FleetService, OperatorService, Settings, probe};

/// Largest request that is read. A heartbeat of a thousand adapters stays far below.
const LARGEST_REQUEST: usize = 16 << 20;
/// Largest reply that is written: a list of a million jobs.
const LARGEST_REPLY: usize = 256 << 20;

/// What a coordinator serves from.
pub struct Serving {
    /// The job table.
    pub store: Arc<dyn Store>,
    /// Expands manifests.
    pub planner: Arc<dyn Planner>,
    /// The object store.
    pub artifacts: Artifacts,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How it serves.
    pub settings: Settings,
    /// What is counted and measured.
    pub metrics: Arc<Metrics>,
}

/// Serving cannot begin, or ended otherwise than by shutdown.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The server broke down.
    #[error("cannot serve: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The table does not answer.
    #[error(transparent)]
    Table(#[from] StoreError),
    /// Nobody could ever be let in.
    #[error(
        "no operator's token exists: make one by `coordinator token create NAME --role operator` with this coordinator's --config, --dir \
         or --database, or serve whoever connects by --open"
    )]
    NoToken,
}

/// How long connections may take to end once a server stops. A peer that has vanished would never end its own.
const PARTING: Duration = Duration::from_secs(1);

/// Runs a server to its end, but not for long once it is told to stop.
pub(crate) async fn parting(
    server: impl Future<Output = Result<(), tonic::transport::Error>>,
    stop: &CancellationToken,
) -> Result<(), tonic::transport::Error> {
    tokio::select! {
        served = server => served,
        () = async {
            stop.cancelled().await;
            sleep(PARTING).await;
        } => {
            tracing::info!("connections that did not end in time are dropped");
            Ok(())
        }
    }
}

/// Serves workers and operators until `shutdown` is cancelled, then answers what waits, writes progress down and returns. It may be
/// called again on the same table: nothing is kept elsewhere.
///
/// # Errors
/// When nobody could be let in, the table does not answer, or the server breaks down.
pub async fn serve<Io>(
    incoming: impl Stream<Item = io::Result<Io>>,
    serving: Serving,
    shutdown: CancellationToken,
) -> Result<(), ServeError>
where
    Io: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let Serving { store, planner, artifacts, clock, settings, metrics } = serving;
    if settings.access == Access::Tokens {
        let now = Micros(clock.now_micros());
        let tokens = store.tokens().await?;
        if !tokens.iter().any(|token| token.role == Role::Operator && token.is_good(now)) {
            return Err(ServeError::NoToken);
        }
    }
    // A token of its own, so that a failing server ends its loops and leaves the caller's token alone.
    let shutdown = shutdown.child_token();
    let (context, batches) =
        Context::new(store, planner, artifacts, clock, settings, Arc::clone(&metrics), shutdown.clone());
    let context = Arc::new(context);
    metrics.leads(context.store.term());
    metrics.table_answers(true);
    let fleet = FleetServer::new(FleetService(Arc::clone(&context)));
    let operator = OperatorServer::new(OperatorService(Arc::clone(&context)));
    let guard = Arc::new(Guard::new(Arc::clone(&context)));
    let server = async {
        let calls = Routes::new(
            fleet.max_decoding_message_size(LARGEST_REQUEST).max_encoding_message_size(LARGEST_REPLY),
        )
        .add_service(
            operator.max_decoding_message_size(LARGEST_REQUEST).max_encoding_message_size(LARGEST_REPLY),
        );
        let calls = probe::measured(calls.into_axum_router(), &metrics).merge(probe::routes(&metrics));
        let router = calls.layer(axum::middleware::from_fn_with_state(guard, guarded));
        let served = Server::builder()
            .accept_http1(true)
            .add_routes(Routes::from(router))
            .serve_with_incoming_shutdown(incoming, shutdown.cancelled());
        let served = tokio::select! {
            served = parting(served, &shutdown) => served,
            () = batches.serve(&context) => Ok(()),
        };
        shutdown.cancel();
        served
    };
    let (tick, flush) = (context.settings.tick, context.settings.progress_flush);
    let (served, (), (), (), (), (), ()) = tokio::join!(
        server,
        every(tick, shutdown.clone(), || expire::expire(&context)),
        every(flush, shutdown.clone(), || stall::stall(&context)),
        every(flush, shutdown.clone(), || lift::lift(&context)),
        every(tick, shutdown.clone(), || promote::promote(&context)),
        every(flush, shutdown.clone(), || progress::flush(&context)),
        every(flush, shutdown.clone(), || totals::refresh(&context)),
    );
    progress::flush(&context).await;
    metrics.stands_by();
    Ok(served?)
}
