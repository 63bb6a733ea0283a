//! Figures for monitors: one registry a process, in the text form that Prometheus reads.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// One label with its value. Values come from fixed sets: strangers must not be able to make new ones.
pub type Label = [(&'static str, &'static str); 1];
/// Counters by a label's value.
pub type Counters = Family<Label, Counter>;
/// Gauges by a label's value.
pub type Gauges = Family<Label, Gauge>;
/// Histograms by a label's value.
pub type Histograms = Family<Label, Histogram, fn() -> Histogram>;

/// What [`prometheus_text`] writes.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A registry that is being filled. Each method registers a figure and returns it for whoever moves it.
#[derive(Debug)]
pub struct Figures(Registry);

impl Figures {
    /// No figures under a prefix, but the one that tells which build this is.
    pub fn new(prefix: &'static str, version: &'static str) -> Self {
        let mut figures = Self(Registry::with_prefix(prefix));
        let build = figures.gauges("build_info", "1; the label tells the version");
        build.get_or_create(&[("version", version)]).set(1);
        figures
    }

    /// A figure that only grows; `_total` is added to its name.
    pub fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.add(name, help, Counter::default())
    }

    /// [`Self::counter`] by a label's value.
    pub fn counters(&mut self, name: &str, help: &str) -> Counters {
        self.add(name, help, Counters::default())
    }

    /// A figure that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.add(name, help, Gauge::default())
    }

    /// [`Self::gauge`] by a label's value.
    pub fn gauges(&mut self, name: &str, help: &str) -> Gauges {
        self.add(name, help, Gauges::default())
    }

    /// Durations from half a millisecond to a minute, in seconds.
    pub fn histogram(&mut self, name: &str, help: &str) -> Histogram {
        self.add(name, help, seconds())
    }

    /// [`Self::histogram`] by a label's value.
    pub fn histograms(&mut self, name: &str, help: &str) -> Histograms {
        self.add(name, help, Family::new_with_constructor(seconds as fn() -> Histogram))
    }

    /// The registry with all figures.
    pub fn done(self) -> Arc<Registry> {
        Arc::new(self.0)
    }

    /// A figure of any kind.
    pub fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 18))
}

/// `/metrics`, and `/healthz`, which tells that the process lives.
pub fn routes(registry: Arc<Registry>) -> Router {
    let metrics = move || {
        let registry = Arc::clone(&registry);
        async move { text(&registry) }
    };
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(async || "alive\n"))
}

fn text(registry: &Registry) -> Response {
    let mut text = String::new();
    match prometheus_text::encode(&mut text, registry) {
        Ok(()) => ([(CONTENT_TYPE, TEXT)], text).into_response(),
        Err(fmt::Error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "a figure cannot be written\n").into_response()
        }
    }
}
