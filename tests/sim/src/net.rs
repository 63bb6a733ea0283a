//! Connections of the simulated network, as servers accept them and clients dial them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Uri};
use tower::service_fn;
use turmoil::net::{TcpListener, TcpStream};
use worker::Fleet;

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

/// The URL of the coordinator on a machine.
pub(crate) fn url(machine: &str) -> String {
    format!("http://{machine}:{PORT}")
}

/// A channel to the coordinator on a machine.
///
/// # Errors
/// When the machine's name makes no URL.
pub(crate) fn channel(machine: &'static str) -> Result<Channel, worker::Error> {
    Ok(Fleet::endpoint(&url(machine))?.connect_with_connector_lazy(service_fn(move |_: Uri| async move {
        Ok::<_, io::Error>(TokioIo::new(TcpStream::connect((machine, PORT)).await?))
    })))
}
