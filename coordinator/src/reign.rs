//! Several coordinators on one Postgres: one leads and serves, the others stand by and tell every caller so. A leader trusts its reign
//! from the moment it asked to renew it, for the time that it asked for less a margin, on a monotonic clock; the table refuses its writes
//! in any case once another leads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use coordinator_core::policy::Policy;
use coordinator_store::{Leadership, Store, StoreError};
use futures::Stream;
use proto::error::StandsBy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::loops::{ServeError, Serving, serve};
use crate::metrics::Metrics;
use crate::server::probe;

/// How a coordinator reigns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// How long a reign lasts without being renewed.
    pub(crate) ttl: Duration,
}

impl Clocks {
    /// How often it is renewed, or asked for.
    fn pace(self) -> Duration {
        self.ttl / 3
    }

    /// How long it is trusted after it was asked for.
    fn trust(self) -> Duration {
        self.ttl - self.ttl / 5
    }
}

/// Leads whenever nobody else does, until `shutdown`.
///
/// # Errors
/// When the server breaks down.
pub(crate) async fn reign(
    listener: Arc<TcpListener>,
    leadership: Arc<Leadership>,
    clocks: Clocks,
    policy: Policy,
    serving: impl Fn(Arc<dyn Store>) -> Serving,
    metrics: &Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    while !shutdown.is_cancelled() {
        let stood_by = stand_by(&listener, &leadership, clocks, metrics, &shutdown).await?;
        let Some(trusted_until) = stood_by else { break };
        let term = leadership.term();
        tracing::info!(%term, "leading");
        let reigning = shutdown.child_token();
        let store: Arc<dyn Store> = Arc::new(leadership.store(policy).observed(Arc::clone(metrics) as _));
        let (served, ()) = tokio::join!(
            async {
                let served = serve(incoming(&listener), serving(store), reigning.clone()).await;
                reigning.cancel();
                served
            },
            async {
                let lost = keep(&leadership, clocks, trusted_until);
                if reigning.run_until_cancelled(lost).await.is_some() {
                    tracing::warn!(%term, "the reign is over");
                    reigning.cancel();
                }
            },
        );
        served?;
        if let Err(error) = leadership.step_down().await {
            tracing::warn!(%error, "cannot step down; others wait for the end of the reign");
        }
    }
    Ok(())
}

/// The connections that a listener accepts.
pub(crate) fn incoming(listener: &Arc<TcpListener>) -> impl Stream<Item = io::Result<TcpStream>> + use<> {
    futures::stream::unfold(Arc::clone(listener), |listener| async move {
        let accepted = listener.accept().await.and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        Some((accepted, listener))
    })
}

/// Tells callers who leads until this coordinator does. Returns until when it may trust that, or nothing at shutdown.
async fn stand_by(
    listener: &Arc<TcpListener>,
    leadership: &Leadership,
    clocks: Clocks,
    metrics: &Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Result<Option<Instant>, ServeError> {
    let (leader, known) = watch::channel(String::new());
    let standing_by = shutdown.child_token();
    let answer = move || {
        let leader = known.borrow().clone();
        async move { StandsBy { leader }.refusal().into_http::<axum::body::Body>() }
    };
    let server = Server::builder()
        .accept_http1(true)
        .add_routes(Routes::from(probe::routes(metrics).fallback(answer)))
        .serve_with_incoming_shutdown(incoming(listener), standing_by.cancelled());
    let (served, leads) = tokio::join!(
        async {
            let served = server.await;
            standing_by.cancel();
            served
        },
        async {
            let lead = take_over(leadership, clocks, metrics, &leader);
            let leads = standing_by.run_until_cancelled(lead).await;
            standing_by.cancel();
            leads
        },
    );
    served?;
    Ok(leads)
}

/// Waits until this coordinator leads.
async fn take_over(
    leadership: &Leadership,
    clocks: Clocks,
    metrics: &Metrics,
    leader: &watch::Sender<String>,
) -> Instant {
    loop {
        let asked = Instant::now();
        match attempt(leadership, clocks, metrics).await {
            Ok(None) => return asked + clocks.trust(),
            Ok(Some((address, remaining))) => {
                leader.send_replace(address);
                tokio::select! {
                    () = sleep(remaining.min(clocks.pace())) => {}
                    heard = leadership.changed() => if heard.is_err() {
                        sleep(clocks.pace()).await;
                    },
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot ask who leads");
                sleep(clocks.pace()).await;
            }
        }
    }
}

/// Tries to lead. Tells who does, and for how long, where it does not succeed.
async fn attempt(
    leadership: &Leadership,
    clocks: Clocks,
    metrics: &Metrics,
) -> Result<Option<(String, Duration)>, StoreError> {
    let asked = async {
        if leadership.try_lead().await?.is_some() {
            return Ok(None);
        }
        let leader = leadership.leader().await?;
        Ok(Some((leader.address, leader.remaining)))
    };
    let asked = timeout(clocks.ttl, asked).await;
    metrics.table_answers(matches!(asked, Ok(Ok(_))));
    asked.unwrap_or_else(|_| Ok(Some((String::new(), Duration::ZERO))))
}

/// Renews the reign; returns when it is over or can no longer be trusted.
async fn keep(leadership: &Leadership, clocks: Clocks, mut trusted_until: Instant) {
    loop {
        sleep(clocks.pace()).await;
        let asked = Instant::now();
        match timeout(clocks.pace(), leadership.renew()).await {
            Ok(Ok(true)) => trusted_until = asked + clocks.trust(),
            Ok(Ok(false)) => return,
            Ok(Err(error)) => tracing::warn!(%error, "cannot renew the reign"),
            Err(_) => tracing::warn!("the database does not answer"),
        }
        if Instant::now() >= trusted_until {
            return;
        }
    }
}
