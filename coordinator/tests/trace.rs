//! One trace from a sweep's submission to a commit, as a collector receives it: the coordinator is the real program, the worker the real one
//! in this process with a runner that finishes every job at once.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Place;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use proto::pipe::{FromRunner, ToRunner};
use proto_kit::telemetry::{self, Format};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use worker::{Exit, Launch, Listener, Runner, Settings, Size, Worker};

/// What a collector received: spans with the service that sent them.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for from in request.into_inner().resource_spans {
            let attributes = from.resource.unwrap().attributes;
            let service = attributes.into_iter().find(|attribute| attribute.key == "service.name").unwrap();
            let service = format!("{:?}", service.value.unwrap().value.unwrap());
            let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn serve() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        (collector, url)
    }

    /// The only span of a name among those that meet a condition.
    fn one(&self, name: &str, condition: impl Fn(&Span) -> bool) -> (String, Span) {
        let spans = self.0.lock().unwrap();
        let mut found = spans.iter().filter(|(_, span)| span.name == name && condition(span));
        let one = found.next().unwrap_or_else(|| panic!("no span `{name}` of {spans:?}")).clone();
        assert_eq!(found.count(), 0, "`{name}` is there more than once");
        one
    }
}

/// Starts runners that finish every job at once.
#[derive(Debug)]
struct Quick;

struct QuickRunner {
    say: UnboundedSender<FromRunner>,
    said: UnboundedReceiver<FromRunner>,
}

impl Launch for Quick {
    fn launch(&self, device: &str, _: Listener) -> std::io::Result<Box<dyn Runner>> {
        let (say, said) = unbounded_channel();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        say.send(FromRunner::Hello { device: device.to_owned(), kinds: Vec::new(), version }).unwrap();
        Ok(Box::new(QuickRunner { say, said }))
    }
}

#[tonic::async_trait]
impl Runner for QuickRunner {
    async fn next(&mut self) -> Option<FromRunner> {
        self.said.recv().await
    }

    fn send(&mut self, command: ToRunner) {
        let ToRunner::Start(start) = command else { return };
        let (task, output) = (start.task, start.scratch.join("output"));
        std::fs::create_dir_all(&output).unwrap();
        std::fs::write(output.join("result"), "done").unwrap();
        self.say.send(FromRunner::Started { task }).unwrap();
        let metrics = serde_json::json!({});
        self.say.send(FromRunner::Done { task, output, metrics, device_ms: 1 }).unwrap();
    }

    async fn end(self: Box<Self>) -> String {
        String::new()
    }
}

/// The coordinator's program, which sends its spans to a collector.
fn coordinator(place: &Place, collector: &str) -> (Child, String) {
    let mut process = place
        .command(env!("CARGO_BIN_EXE_coordinator").as_ref(), &["serve", "--listen", "127.0.0.1:0"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stderr = BufReader::new(process.stderr.take().unwrap());
    while !line.contains("listening on ") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the coordinator ended");
    }
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).count());
    let url = format!("http://{}", line.trim().rsplit(' ').next().unwrap());
    (process, url)
}

fn stop(mut process: Child) {
    assert!(Command::new("kill").arg(process.id().to_string()).status().unwrap().success());
    assert!(process.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_a_submission_to_each_commit() {
    let (collector, address) = Collector::serve().await;
    let place = Place::new();
    let (process, url) = coordinator(&place, &address);
    place.json(&["submit", "demo.yaml", "--json", "--coordinator", &url]);

    let telemetry = telemetry::init_to(Some(&address), "quiver-worker", Format::Compact, "warn").unwrap();
    let runner = Some(env!("CARGO_BIN_EXE_coordinator").into());
    let (device, dir) = (vec!["cpu".to_owned()], place.path("worker"));
    let min_free_disk = Size(0);
    let settings = Settings { coordinator: url, device, dir, runner, min_free_disk, ..Settings::default() };
    let worker = Worker { launch: Arc::new(Quick), ..Worker::new(settings).unwrap() };
    let (metrics, exit) = (Arc::clone(&worker.metrics), Exit::default());
    let working = tokio::spawn(worker.run(exit.clone()));
    let committed = async {
        while metrics.jobs_committed.get() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), committed).await.unwrap();
    exit.drain();
    working.await.unwrap().unwrap();
    telemetry.finish().await;
    tokio::task::spawn_blocking(|| stop(process)).await.unwrap();

    let (service, submit) = collector.one("submit", |span| span.parent_span_id.is_empty());
    assert_eq!(service, "StringValue(\"quiver-coordinator\")");
    let spans = collector.0.lock().unwrap().clone();
    let commits: Vec<_> = spans.iter().filter(|(_, span)| span.name == "complete").collect();
    assert_eq!(commits.len() as u64, metrics.jobs_committed.get());
    for (service, complete) in commits {
        assert_eq!(service, "StringValue(\"quiver-coordinator\")");
        let parent = |child: &Span, name: &str, service: &str| {
            let (found, span) = collector.one(name, |span| span.span_id == child.parent_span_id);
            assert_eq!(found, format!("StringValue(\"{service}\")"), "{name}");
            assert_eq!(span.trace_id, submit.trace_id, "{name}");
            span
        };
        let commit = parent(complete, "commit", "quiver-worker");
        let job = parent(&commit, "job", "quiver-worker");
        let offer = parent(&job, "offer", "quiver-coordinator");
        assert_eq!(offer.parent_span_id, submit.span_id);
        for phase in ["fetch", "start", "run", "upload"] {
            collector
                .one(phase, |span| span.parent_span_id == job.span_id && span.trace_id == submit.trace_id);
        }
    }
    assert!(spans.iter().all(|(_, span)| span.trace_id == submit.trace_id), "nothing else is collected");
    let trace: String = submit.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(manifest_traces(&place), vec![trace; metrics.jobs_committed.get() as usize]);
}

/// The traces that the manifests of committed results name.
fn manifest_traces(place: &Place) -> Vec<String> {
    let jobs = std::fs::read_dir(place.path("quiver-data/store/manifests")).unwrap();
    let manifests = jobs.filter_map(|job| std::fs::read(job.unwrap().path().join("1")).ok());
    let trace = |manifest: Vec<u8>| {
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest["trace"].as_str().unwrap().to_owned()
    };
    manifests.map(trace).collect()
}
