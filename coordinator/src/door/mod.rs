//! The port: connections are counted, encrypted where so told, and greeted before a call is read from them. What does not greet in time,
//! shows no certificate that is trusted, or talks nonsense, is shut out and counted.

mod connection;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, Stream, StreamExt, unfold};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

pub(crate) use connection::Connection;
pub(crate) use tls::{Tls, TlsError, TlsFiles};

use crate::access::Cause;
use crate::metrics::Metrics;
use connection::Io;

/// The wait after a connection could not be taken, such as while the process has no more file handles.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take to read why it is shut out.
const PARTING: Duration = Duration::from_secs(1);
/// How clients of this port begin: HTTP/2, and HTTP/1 for pages.
const GREETINGS: [&[u8]; 3] = [b"PRI ", b"GET ", b"HEAD"];

/// See the module.
pub(crate) struct Door {
    listener: TcpListener,
    tls: Option<Tls>,
    places: Arc<Semaphore>,
    greeting: Duration,
    metrics: Arc<Metrics>,
}

/// What a door lets in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at a time.
    pub(crate) connections: usize,
    /// How long a connection may take for its TLS handshake and its first bytes.
    pub(crate) greeting: Duration,
}

/// A connection that is shut out.
struct ShutOut {
    cause: Cause,
    why: String,
}

impl Door {
    pub(crate) fn new(
        listener: TcpListener,
        tls: Option<Tls>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { listener, tls, places, greeting: limits.greeting, metrics })
    }

    /// The connections that have greeted. One that is slow delays no other.
    pub(crate) fn incoming(self: &Arc<Self>) -> impl Stream<Item = io::Result<Connection>> + use<> {
        unfold((Arc::clone(self), FuturesUnordered::new()), |(door, mut greeting)| async move {
            loop {
                tokio::select! {
                    accepted = door.listener.accept() => match accepted {
                        Ok((stream, peer)) => greeting.extend(door.begin(stream, peer)),
                        Err(error) => {
                            tracing::warn!(%error, "cannot take a connection");
                            sleep(PAUSE).await;
                        }
                    },
                    Some(greeted) = greeting.next() => if let Some(connection) = greeted {
                        return Some((Ok(connection), (door, greeting)));
                    },
                }
            }
        })
    }

    /// Gives a connection its place.
    fn begin(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<impl Future<Output = Option<Connection>> + use<>> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.shut_out(peer, &ShutOut { cause: Cause::Connections, why: "no place is free".to_owned() });
            return None;
        };
        let door = Arc::clone(self);
        Some(async move {
            let greeted = timeout(door.greeting, door.greet(stream, peer, place)).await;
            let slow = |_| Err(ShutOut { cause: Cause::Handshake, why: "it says nothing".to_owned() });
            greeted.unwrap_or_else(slow).inspect_err(|out| door.shut_out(peer, out)).ok()
        })
    }

    async fn greet(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> Result<Connection, ShutOut> {
        let broken = |error: io::Error| ShutOut { cause: Cause::Handshake, why: error.to_string() };
        stream.set_nodelay(true).map_err(broken)?;
        let mut io = match &self.tls {
            None => Io::Plain(stream),
            Some(tls) => match TlsAcceptor::from(tls.config()).accept(stream).into_fallible().await {
                Ok(stream) => Io::Tls(Box::new(stream)),
                Err((error, stream)) => {
                    part(stream).await;
                    return Err(broken(error));
                }
            },
        };
        let mut said = [0; 4];
        let mut heard = 0;
        while heard < said.len() {
            let more = io.read(&mut said[heard..]).await.map_err(broken)?;
            heard += more;
            if more == 0 && heard == 0 {
                return Err(ShutOut { cause: Cause::Handshake, why: "it says nothing".to_owned() });
            }
            if more == 0 || !GREETINGS.iter().any(|greeting| greeting.starts_with(&said[..heard])) {
                let why = format!(
                    "it begins with `{}`, which is neither HTTP/2 nor a page",
                    said[..heard].escape_ascii()
                );
                return Err(ShutOut { cause: Cause::Garbage, why });
            }
        }
        Ok(Connection::new(io, said, peer, place))
    }

    fn shut_out(&self, peer: SocketAddr, ShutOut { cause, why }: &ShutOut) {
        tracing::warn!(%peer, why, "a connection is refused");
        self.metrics.refused(*cause);
    }
}

/// Lets a client read why it is shut out: a socket that is closed with something left to read takes back what was said last.
async fn part(mut stream: TcpStream) {
    let heard = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = timeout(PARTING, heard).await {
        tracing::debug!(%error, "a client that is shut out is gone");
    }
}
