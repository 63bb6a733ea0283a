//! Traces: one from a sweep's submission to each commit. Spans that declare the field `otel.kind` go to the OTLP collector that the environment
//! names; without one nothing is collected. Between processes a trace travels as W3C `traceparent`.

use std::collections::HashMap;
use std::env;

use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::offload::offload;

/// The header, and the metadata entry of a call, that names the span which a trace goes on from.
pub const HEADER: &str = "traceparent";

/// Either of these names the collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The collector's address, if the environment names one.
pub fn endpoint() -> Option<String> {
    ENDPOINTS.iter().find_map(|name| env::var(name).ok()).filter(|url| !url.is_empty())
}

/// A span as `traceparent`; `None` where nothing is collected.
pub fn parent_of(span: &Span) -> Option<String> {
    let mut carrier = HashMap::new();
    let context = span.context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut carrier);
    }
    carrier.remove(HEADER)
}

/// The trace of a `traceparent`, 32 hex digits; `None` if it makes no sense.
pub fn id_of(traceparent: &str) -> Option<String> {
    let context = read(traceparent);
    let span = context.span();
    span.span_context().is_valid().then(|| span.span_context().trace_id().to_string())
}

/// Makes a fresh span a child of what a `traceparent` names. One that makes no sense is ignored, as the standard asks.
pub fn go_on(span: &Span, traceparent: &str) {
    let context = read(traceparent);
    if !context.span().span_context().is_valid() {
        return;
    }
    if let Err(error) = span.set_parent(context) {
        tracing::trace!(%error, "a span stays out of its trace");
    }
}

fn read(traceparent: &str) -> opentelemetry::Context {
    let carrier = HashMap::from([(HEADER.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &carrier)
}

/// Sends spans to the collector, in the background.
#[derive(Debug)]
pub(crate) struct Collector(SdkTracerProvider);

impl Collector {
    /// A collector at an address. `service` is who speaks, unless `OTEL_SERVICE_NAME` says otherwise. Called within a runtime.
    pub(crate) fn at(endpoint: &str, service: &'static str) -> Result<Self, String> {
        let mut exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
        if endpoint.starts_with("https://") {
            exporter = exporter.with_tls_config(ClientTlsConfig::new().with_native_roots());
        }
        let exporter = exporter.build().map_err(|error| error.to_string())?;
        let mut resource = Resource::builder();
        if env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(service);
        }
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = resource.with_attribute(version).build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Self(provider))
    }

    /// What hands spans over.
    pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let layer: OpenTelemetryLayer<S, SdkTracer> = tracing_opentelemetry::layer()
            // A span's parent may come with a message that is read within the span.
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_tracer(self.0.tracer("quiver"));
        let traced =
            filter_fn(|metadata| metadata.is_span() && metadata.fields().field("otel.kind").is_some());
        layer.with_filter(traced)
    }

    /// Sends what has not been sent.
    pub(crate) async fn finish(self) {
        if let Err(error) = offload(move || self.0.shutdown()).await {
            tracing::warn!(%error, "the last spans may not have reached the collector");
        }
    }
}
