//! `run` with a worker of the test's own in place of the real one: a script that lies beside the program, as the real one does. Where jobs
//! have to be done, the test does them over the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::{Place, text};
use proto::v1;
use proto::v1::fleet_client::FleetClient;
use tonic::Status;
use tonic::transport::Channel;

/// A worker that tells its arguments and then waits for its standard input to end.
const PATIENT: &str = "echo \"$@\" > ../told; cat > /dev/null; echo stopped > ../stopped";

/// A place with the program and a worker that does what `script` says.
fn with_worker(script: &str) -> (Place, PathBuf) {
    let place = Place::new();
    place.write("bin/worker", &format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{script}\n"));
    std::fs::set_permissions(place.path("bin/worker"), PermissionsExt::from_mode(0o755)).unwrap();
    let program = place.path("bin/coordinator");
    std::fs::copy(env!("CARGO_BIN_EXE_coordinator"), &program).unwrap();
    // Reading waits until the worker has written, so that no test has to poll.
    assert!(Command::new("mkfifo").arg(place.path("told")).status().unwrap().success());
    (place, program)
}

fn start(place: &Place, program: &std::path::Path, args: &[&str]) -> Child {
    place.command(program, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What the worker was told: its arguments.
fn told(place: &Place) -> Vec<String> {
    let mut told = String::new();
    std::fs::File::open(place.path("told")).unwrap().read_to_string(&mut told).unwrap();
    told.split_whitespace().map(str::to_owned).collect()
}

fn after<'a>(args: &'a [String], flag: &str) -> &'a str {
    let at = args.iter().position(|arg| arg == flag).unwrap();
    &args[at + 1]
}

#[test]
fn a_signal_stops_worker_and_coordinator() {
    let (place, program) = with_worker(PATIENT);
    for signal in ["-INT", "-TERM"] {
        let run = start(&place, &program, &["run", "demo.yaml"]);
        told(&place);
        assert!(Command::new("kill").args([signal, &run.id().to_string()]).status().unwrap().success());
        let output = run.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        assert!(text(&output.stderr).ends_with("stopped; run it again to resume\n"));
        assert!(output.stdout.is_empty());
        std::fs::remove_file(place.path("stopped")).expect("the worker was stopped, not killed");
        assert_eq!(
            place.json(&["plan", "demo.yaml", "--json"])["stages"][1]["running"],
            2,
            "the table is free"
        );
    }
}

#[test]
fn a_worker_that_ends_or_is_missing_is_told_in_one_line() {
    let (place, program) = with_worker("echo 'no such device' >&2; exit 3");
    let failure = |place: &Place| {
        let output = place.command(&program, &["run", "demo.yaml"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr).lines().last().unwrap().to_owned()
    };
    assert_eq!(
        failure(&place),
        "error: the worker ended (exit status: 3); its log quiver-data/worker.log ends with: no such device"
    );
    std::fs::remove_file(place.path("bin/worker")).unwrap();
    let missing = failure(&place);
    assert!(
        missing.starts_with("error: cannot start ") && missing.contains("bin/worker: No such file"),
        "{missing}"
    );
}

/// A worker's end of the wire.
struct Fleet {
    client: FleetClient<Channel>,
    session: v1::RegisterReply,
}

impl Fleet {
    async fn join(url: &str) -> Self {
        let mut client = FleetClient::connect(url.to_owned()).await.unwrap();
        let request = v1::RegisterRequest {
            name: "test".to_owned(),
            incarnation: "1".to_owned(),
            host: "here".to_owned(),
            version: proto::version::OWN.to_owned(),
            lanes: vec![v1::Lane { id: 0, device: "cpu".to_owned() }],
            held: Vec::new(),
            draining: false,
        };
        let session = client.register(request).await.unwrap().into_inner();
        Self { client, session }
    }

    /// Does jobs until the coordinator is gone: `outcome` is `None` for a success, otherwise the message of a failure.
    async fn work(mut self, outcome: impl Fn(&v1::Offer) -> Option<&'static str>) {
        while let Ok(offers) = self.offers().await {
            for offer in offers {
                let done = match outcome(&offer) {
                    None => self.complete(&offer).await,
                    Some(message) => self.fail(&offer, message).await,
                };
                if done.is_err() {
                    return;
                }
            }
        }
    }

    /// The next jobs.
    async fn offers(&mut self) -> Result<Vec<v1::Offer>, Status> {
        let request = v1::AcquireRequest {
            term: self.session.term,
            worker: self.session.worker,
            lane: 0,
            fan: String::new(),
            free_slots: 16,
            wait_ms: 30_000,
            prefetch: 0,
        };
        Ok(self.client.acquire(request).await?.into_inner().offers)
    }

    /// Commits something as a job's result. Every variant but `base` gets its entry right.
    async fn complete(&mut self, offer: &v1::Offer) -> Result<(), Status> {
        let metrics = match offer.label.split_once('/') {
            Some((variant, category)) => serde_json::json!({
                "variant": variant, "category": category, "correct": u64::from(variant != "base"), "total": 1,
            }),
            None => serde_json::json!({}),
        };
        let digest = offer.key.clone();
        let request = v1::CompleteRequest {
            term: self.session.term,
            worker: self.session.worker,
            task: offer.task,
            role: offer.role.clone(),
            artifact: Some(v1::Artifact { path: format!("manifests/{}/1", offer.key), digest }),
            bytes: 1,
            metrics: metrics.to_string(),
            device_ms: 1,
            blobs: Vec::new(),
        };
        self.client.complete(request).await.map(drop)
    }

    /// Ends a job without a result.
    async fn fail(&mut self, offer: &v1::Offer, message: &str) -> Result<(), Status> {
        let request = v1::FailRequest {
            term: self.session.term,
            worker: self.session.worker,
            task: offer.task,
            code: "data".to_owned(),
            message: message.to_owned(),
            released: false,
        };
        self.client.fail(request).await.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_ends_in_its_table_and_is_not_computed_twice() {
    let (place, program) = with_worker(PATIENT);
    let run =
        start(&place, &program, &["run", "demo.yaml", "--json", "--device", "cpu", "--device", "cuda:0"]);
    let args = told(&place);
    assert_eq!(args[..2], ["run", "--exit-with-parent"]);
    assert_eq!(args.iter().filter(|arg| *arg == "--device").count(), 2);
    Fleet::join(after(&args, "--coordinator")).await.work(|_| None).await;
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["state"], "succeeded");
    assert_eq!(outcome["scores"].as_array().unwrap().len(), 5);
    assert_eq!(outcome["scores"][1]["accuracy"], 1.0);
    assert!(text(&output.stderr).contains("pretrain: 2 of 2 done"), "{}", text(&output.stderr));

    // No worker is started for what is there: a missing one would fail.
    std::fs::remove_file(place.path("bin/worker")).unwrap();
    let again = place.command(&program, &["run", "demo.yaml", "--json"]).output().unwrap();
    assert_eq!(text(&again.stdout), text(&output.stdout), "{}", text(&again.stderr));
    let table = text(&place.command(&program, &["run", "demo.yaml"]).output().unwrap().stdout);
    assert!(
        table.contains("oracle") && table.contains("100.0") && table.contains("quiver-data/store"),
        "{table}"
    );
    assert_eq!(place.json(&["plan", "demo.yaml", "--json"])["stages"][1]["cached"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_jobs_are_told_one_a_line_and_tried_again_by_the_next_run() {
    let (place, program) = with_worker(PATIENT);
    let run = start(&place, &program, &["run", "demo.yaml", "--json"]);
    let fleet = Fleet::join(after(&told(&place), "--coordinator")).await;
    fleet.work(|offer| (offer.kind == "pretrain").then_some("the shape is wrong")).await;
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["state"], "failed");
    let stderr = text(&output.stderr);
    for tool in ["weather", "time"] {
        assert!(stderr.contains(&format!("error: pretrain {tool}: data: the shape is wrong\n")), "{stderr}");
    }

    let again = start(&place, &program, &["run", "demo.yaml"]);
    Fleet::join(after(&told(&place), "--coordinator")).await.work(|_| None).await;
    let output = again.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
