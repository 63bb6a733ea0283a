//! What monitors and load balancers ask by plain HTTP, on the port of the calls.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use proto::error::Reason;
use proto::v1::METHODS;
use proto_kit::monitor;
use tokio::time::Instant;

use crate::metrics::Metrics;

/// `/metrics` and `/healthz`; `/readyz`, which tells that the job table is in reach; `/leaderz`, which tells that this coordinator leads.
pub(crate) fn routes(metrics: &Arc<Metrics>) -> Router {
    let (ready, leader) = (Arc::clone(metrics), Arc::clone(metrics));
    monitor::routes(metrics.registry())
        .route("/readyz", get(async move || readiness(&ready)))
        .route("/leaderz", get(async move || leadership(&leader)))
}

fn readiness(metrics: &Metrics) -> (StatusCode, &'static str) {
    match (metrics.table_is_up(), metrics.is_leader()) {
        (true, true) => (StatusCode::OK, "leads\n"),
        (true, false) => (StatusCode::OK, "stands by\n"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "the job table does not answer\n"),
    }
}

fn leadership(metrics: &Metrics) -> (StatusCode, &'static str) {
    match metrics.is_leader() {
        true => (StatusCode::OK, "leads\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "stands by\n"),
    }
}

/// Measures every call that goes through a router, and counts the refusals that carry a reason.
pub(crate) fn measured(router: Router, metrics: &Arc<Metrics>) -> Router {
    router.layer(from_fn_with_state(Arc::clone(metrics), measure))
}

async fn measure(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let method = METHODS.iter().find(|method| **method == request.uri().path());
    let began = Instant::now();
    let response = next.run(request).await;
    if let Some(method) = method {
        metrics.called(method.trim_start_matches("/quiver.v1."), began.elapsed());
    }
    if let Some(reason) = response.headers().get(Reason::METADATA) {
        let known = Reason::ALL.iter().find(|known| known.name().as_bytes() == reason.as_bytes());
        metrics.refused(known.map_or("OTHER", |known| known.name()));
    }
    response
}
