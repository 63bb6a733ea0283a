//! Several coordinators over one table: one leads and serves, the others stand by and tell every caller so. A leader trusts its reign
//! from the moment it asked to renew it, for the time that it asked for less a margin, on a monotonic clock; the table refuses its writes
//! in any case once another leads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use coordinator_core::policy::Policy;
use coordinator_store::{Lead, Store, StoreError};
use futures::Stream;
use proto::error::StandsBy;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::loops::{ServeError, Serving, parting, serve};
use crate::metrics::Metrics;
use crate::server::probe;

/// How a coordinator reigns.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// How long a reign lasts without being renewed.
    pub ttl: Duration,
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

/// Leads whenever nobody else does, until `shutdown`. `accept` gives the connections that come from then on, as often as it is called.
///
/// # Errors
/// When the server breaks down.
pub async fn reign<Io, Incoming>(
    accept: impl Fn() -> Incoming,
    lead: &dyn Lead,
    clocks: Clocks,
    policy: Policy,
    serving: impl Fn(Arc<dyn Store>) -> Serving,
    metrics: &Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), ServeError>
where
    Io: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    Incoming: Stream<Item = io::Result<Io>>,
{
    while !shutdown.is_cancelled() {
        let stood_by = stand_by(accept(), lead, clocks, metrics, &shutdown).await?;
        let Some(trusted_until) = stood_by else { break };
        let term = lead.term();
        tracing::info!(%term, "leading");
        let reigning = shutdown.child_token();
        let store = lead.table(policy, Arc::clone(metrics) as _);
        let (served, ()) = tokio::join!(
            async {
                let served = serve(accept(), serving(store), reigning.clone()).await;
                reigning.cancel();
                served
            },
            async {
                let lost = keep(lead, clocks, trusted_until);
                if reigning.run_until_cancelled(lost).await.is_some() {
                    tracing::warn!(%term, "the reign is over");
                    reigning.cancel();
                }
            },
        );
        served?;
        if let Err(error) = lead.step_down().await {
            tracing::warn!(%error, "cannot step down; others wait for the end of the reign");
        }
    }
    Ok(())
}

/// Tells callers who leads until this coordinator does. Returns until when it may trust that, or nothing at shutdown.
async fn stand_by<Io>(
    incoming: impl Stream<Item = io::Result<Io>>,
    lead: &dyn Lead,
    clocks: Clocks,
    metrics: &Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Result<Option<Instant>, ServeError>
where
    Io: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (leader, known) = watch::channel(String::new());
    let standing_by = shutdown.child_token();
    let answer = move || {
        let leader = known.borrow().clone();
        async move { StandsBy { leader }.refusal().into_http::<axum::body::Body>() }
    };
    let server = Server::builder()
        .accept_http1(true)
        .add_routes(Routes::from(probe::routes(metrics).fallback(answer)))
        .serve_with_incoming_shutdown(incoming, standing_by.cancelled());
    let (served, leads) = tokio::join!(
        async {
            let served = parting(server, &standing_by).await;
            standing_by.cancel();
            served
        },
        async {
            let lead = take_over(lead, clocks, metrics, &leader);
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
    lead: &dyn Lead,
    clocks: Clocks,
    metrics: &Metrics,
    leader: &watch::Sender<String>,
) -> Instant {
    loop {
        let asked = Instant::now();
        match attempt(lead, clocks, metrics).await {
            Ok(None) => return asked + clocks.trust(),
            Ok(Some((address, remaining))) => {
                leader.send_replace(address);
                tokio::select! {
                    () = sleep(remaining.min(clocks.pace())) => {}
                    heard = lead.changed() => if heard.is_err() {
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
    lead: &dyn Lead,
    clocks: Clocks,
    metrics: &Metrics,
) -> Result<Option<(String, Duration)>, StoreError> {
    let asked = async {
        if lead.try_lead().await?.is_some() {
            return Ok(None);
        }
        let leader = lead.leader().await?;
        Ok(Some((leader.address, leader.remaining)))
    };
    let asked = timeout(clocks.ttl, asked).await;
    metrics.table_answers(matches!(asked, Ok(Ok(_))));
    asked.unwrap_or_else(|_| Ok(Some((String::new(), Duration::ZERO))))
}

/// Renews the reign; returns when it is over or can no longer be trusted.
async fn keep(lead: &dyn Lead, clocks: Clocks, mut trusted_until: Instant) {
    loop {
        sleep(clocks.pace()).await;
        let asked = Instant::now();
        match timeout(clocks.pace(), lead.renew()).await {
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
