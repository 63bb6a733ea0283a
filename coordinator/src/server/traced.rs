//! The coordinator's part of a sweep's trace: submission, offers, and the ends of attempts.

use coordinator_store::model::Offer;
use proto::v1;
use proto_kit::trace;
use tonic::Request;
use tracing::Span;
use tracing::field::Empty;

use super::encode;

/// Makes the current span, of a call that has just begun, a child of the span that the caller names.
pub(super) fn by_caller<T>(request: &Request<T>) {
    if let Some(parent) = request.metadata().get(trace::HEADER).and_then(|parent| parent.to_str().ok()) {
        trace::go_on(&Span::current(), parent);
    }
}

/// An offer as a message, from which its sweep's trace goes on.
pub(super) fn offer(offer: Offer) -> v1::Offer {
    let (task, trace) = (offer.task, offer.trace.clone());
    let mut message = encode::offer(offer);
    if let Some(trace) = trace {
        let span = tracing::info_span!(
            "offer",
            otel.kind = Empty,
            job = task.job.0,
            attempt = task.attempt.0,
            label = message.label
        );
        trace::go_on(&span, &trace);
        // Without a collector here the worker goes on from the submission.
        message.traceparent = trace::parent_of(&span).unwrap_or(trace);
    }
    message
}
