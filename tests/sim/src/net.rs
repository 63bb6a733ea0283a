//! Connections of the simulated network, as servers accept them and clients dial them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use hyper_util::rt::TokioIo;
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;
use turmoil::net::{TcpListener, TcpStream};

use crate::hosts::COORDINATORS;
use crate::world::World;

/// Where coordinators listen.
const PORT: u16 = 7700;

/// A connection that a server accepted.
pub(crate) struct Accepted(TcpStream);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Listens on this machine.
pub(crate) async fn listen() -> io::Result<Arc<TcpListener>> {
    Ok(Arc::new(TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)).await?))
}

/// The connections that come from now on.
pub(crate) fn incoming(listener: &Arc<TcpListener>) -> impl Stream<Item = io::Result<Accepted>> + use<> {
    futures::stream::unfold(Arc::clone(listener), |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
        Some((accepted, listener))
    })
}

/// A channel to whichever coordinator an address that they share leads to this time.
pub(crate) fn channel(world: &Arc<World>, endpoint: Endpoint) -> Channel {
    let world = Arc::clone(world);
    endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| {
        let coordinator = COORDINATORS[world.draw(|random| random.random_range(0..COORDINATORS.len()))];
        async move { Ok::<_, io::Error>(TokioIo::new(TcpStream::connect((coordinator, PORT)).await?)) }
    }))
}
