//! A TCP proxy that can be told to hold back or to cut off what goes through it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// What happens to what goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It passes.
    Open,
    /// It is held back; nobody is told.
    Stalled,
    /// Connections end, and new ones too.
    Cut,
}

/// A way to a server.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    way: watch::Sender<Way>,
}

impl Proxy {
    /// A way to a port of this machine, open at first.
    pub(crate) async fn to(port: u16) -> Self {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let way = watch::Sender::new(Way::Open);
        let told = way.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, target, told.subscribe()));
            }
        });
        Self { port: own, way }
    }

    /// Makes it so for a while.
    pub(crate) async fn make(&self, way: Way, time: Duration) {
        self.way.send_replace(way);
        sleep(time).await;
        self.way.send_replace(Way::Open);
    }
}

async fn carry(client: TcpStream, target: SocketAddr, way: watch::Receiver<Way>) {
    let mut cut = way.clone();
    let both = async {
        passable(&mut way.clone()).await;
        let Ok(server) = TcpStream::connect(target).await else { return };
        drop((client.set_nodelay(true), server.set_nodelay(true)));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::join!(copy(from_client, to_server, way.clone()), copy(from_server, to_client, way.clone()));
    };
    tokio::select! {
        () = both => {}
        _ = cut.wait_for(|way| *way == Way::Cut) => {}
    }
}

/// Waits while the way is stalled.
async fn passable(way: &mut watch::Receiver<Way>) {
    drop(way.wait_for(|way| *way != Way::Stalled).await);
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        passable(&mut way).await;
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            drop(to.shutdown().await);
            return;
        }
    }
}
