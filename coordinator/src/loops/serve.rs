//! Serving: from a listener to a clean stop.

use std::io;
use std::sync::Arc;

use coordinator_store::Store;
use futures::Stream;
use proto::v1::fleet_server::FleetServer;
use proto::v1::operator_server::OperatorServer;
use proto_kit::clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use worker_artifacts::Artifacts;

use super::{every, expire, lift, progress, promote, stall, totals};
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

/// Serving ended otherwise than by shutdown.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Serves workers and operators until `shutdown` is cancelled, then answers what waits, writes progress down and returns. It may be
/// called again on the same table: nothing is kept elsewhere.
pub async fn serve<Io>(
    incoming: impl Stream<Item = io::Result<Io>>,
    serving: Serving,
    shutdown: CancellationToken,
) -> Result<(), ServeError>
where
    Io: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let Serving { store, planner, artifacts, clock, settings, metrics } = serving;
    // A token of its own, so that a failing server ends its loops and leaves the caller's token alone.
    let shutdown = shutdown.child_token();
    let (context, batches) =
        Context::new(store, planner, artifacts, clock, settings, Arc::clone(&metrics), shutdown.clone());
    let context = Arc::new(context);
    metrics.leads(context.store.term());
    metrics.table_answers(true);
    let fleet = FleetServer::new(FleetService(Arc::clone(&context)));
    let operator = OperatorServer::new(OperatorService(Arc::clone(&context)));
    let server = async {
        let calls = Routes::new(
            fleet.max_decoding_message_size(LARGEST_REQUEST).max_encoding_message_size(LARGEST_REPLY),
        )
        .add_service(
            operator.max_decoding_message_size(LARGEST_REQUEST).max_encoding_message_size(LARGEST_REPLY),
        );
        let calls = probe::measured(calls.into_axum_router(), &metrics);
        let served = Server::builder()
            .accept_http1(true)
            .add_routes(Routes::from(calls.merge(probe::routes(&metrics))))
            .serve_with_incoming_shutdown(incoming, shutdown.cancelled());
        let served = tokio::select! {
            served = served => served,
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
