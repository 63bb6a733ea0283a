//! Where monitors read this worker's figures.

use std::net::SocketAddr;

use proto_kit::monitor;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::error::Error;
use crate::metrics::Metrics;

/// Listens; the future answers until it is dropped.
///
/// # Errors
/// When the address is taken or not this machine's.
pub(crate) async fn serve(
    metrics: &Metrics,
    address: SocketAddr,
) -> Result<impl Future<Output = ()> + use<>, Error> {
    let failed = |error| Error::Setting(format!("`metrics`: cannot listen on {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    tracing::info!(address = %listener.local_addr().map_err(failed)?, "monitors may read figures");
    let routes = Routes::from(monitor::routes(metrics.registry()));
    let server = Server::builder().accept_http1(true).add_routes(routes);
    let serving = server.serve_with_incoming(TcpIncoming::from(listener));
    Ok(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "monitors can no longer read figures");
        }
    })
}
