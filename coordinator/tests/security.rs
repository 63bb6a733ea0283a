//! What must not get through a coordinator's port: each is refused with a clear error and counted, and the table stays as it was.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use common::{MANIFEST, Place, text};
use coordinator::access::Cause;
use coordinator::access::token::hash;
use coordinator::config::Settings;
use coordinator::metrics::Metrics;
use coordinator::node::{Node, NodeError, Reach};
use coordinator::table::OwnTable;
use coordinator_core::policy::Policy;
use coordinator_core::time::Micros;
use coordinator_store::model::{NewToken, Stamp};
use coordinator_store::{SqlStore, Store};
use proto::error::Reason;
use proto::state::Role;
use proto::v1;
use proto::v1::fleet_client::FleetClient;
use proto::v1::operator_client::OperatorClient;
use proto_kit::address::Address;
use proto_kit::client::{Calls, Client, Credentials, root_cause};
use proto_kit::token::Token;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// Long enough for whatever must happen.
const LONG: Duration = Duration::from_secs(20);

/// An authority that signs certificates into a folder.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Writes its own certificate.
    fn publish(&self, place: &Place, name: &str) -> PathBuf {
        place.write(name, &self.1);
        place.path(name)
    }

    /// Writes a certificate for this machine and its key, good until the end of a year.
    fn sign(&self, place: &Place, name: &str, until: i32) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(until, 12, 31);
        let names = (format!("{name}.pem"), format!("{name}.key"));
        place.write(&names.1, &key.serialize_pem());
        place.write(&names.0, &params.signed_by(&key, &self.0).unwrap().pem());
        (place.path(&names.0), place.path(&names.1))
    }
}

/// A coordinator that serves holders of tokens.
struct World {
    place: Place,
    url: String,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), NodeError>>,
}

impl World {
    /// A coordinator in plain text, as settings are changed.
    async fn plain(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start(Place::new(), change).await
    }

    /// A coordinator with a certificate of an authority, good until a year, that may demand certificates of clients.
    async fn encrypted(authority: &Authority, until: i32, demands: bool) -> Self {
        let place = Place::new();
        let (cert, key) = authority.sign(&place, "port", until);
        let clients = demands.then(|| authority.publish(&place, "clients.pem"));
        Self::start(place, |settings| {
            (settings.tls_cert, settings.tls_key, settings.tls_client_ca) = (Some(cert), Some(key), clients);
        })
        .await
    }

    async fn start(place: Place, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            dir: place.path("quiver-data"),
            ..Settings::default()
        };
        change(&mut settings);
        let table = OwnTable::take(&settings).await.unwrap();
        for (name, role, expires_at) in [
            ("operator", Role::Operator, None),
            ("viewer", Role::Viewer, None),
            ("worker", Role::Worker, None),
            ("expired", Role::Operator, Some(Micros(1))),
            ("revoked", Role::Operator, None),
        ] {
            let token = NewToken { name: name.into(), role, hash: hash(name), expires_at };
            let at = Stamp { term: table.store().term(), now: Micros(0) };
            table.store().create_token(at, token).await.unwrap();
            if name == "revoked" {
                table.store().revoke_token(at, name).await.unwrap();
            }
        }
        table.give_back().await.unwrap();
        let node = Node::open(&settings, Reach::Others).await.unwrap();
        let scheme = if settings.tls_cert.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", node.address());
        let (metrics, shutdown) = (Arc::clone(node.metrics()), CancellationToken::new());
        let serving = tokio::spawn(node.serve(shutdown.clone()));
        Self { place, url, metrics, shutdown, serving }
    }

    /// Calls with a token, or without.
    fn calls(&self, token: &str) -> Calls {
        self.calls_with(Credentials { token: Token::new(token), ..Credentials::default() })
    }

    fn calls_with(&self, credentials: Credentials) -> Calls {
        let client = Client::new(&credentials).unwrap();
        let address: Address = self.url.parse().unwrap();
        client.calls(client.endpoint(&address).unwrap().connect_lazy())
    }

    fn operator(&self, token: &str) -> OperatorClient<Calls> {
        OperatorClient::new(self.calls(token))
    }

    /// All that the table holds, read from a copy: its owner lets nobody else in.
    async fn dump(&self) -> String {
        let copy = tempfile::tempdir().unwrap();
        for name in ["table.sqlite", "table.sqlite-wal"] {
            std::fs::copy(self.place.path("quiver-data").join(name), copy.path().join(name)).unwrap();
        }
        let store = SqlStore::sqlite(&copy.path().join("table.sqlite"), Policy::default()).await.unwrap();
        let jobs = (store.facts().await.unwrap(), store.events(0, u32::MAX).await.unwrap());
        let fleet = (store.sweeps().await.unwrap(), store.workers().await.unwrap());
        let access = (store.tokens().await.unwrap(), store.quotas().await.unwrap());
        let objects = (store.roots().await.unwrap(), store.condemned().await.unwrap());
        store.close().await;
        format!("{jobs:?}\n{fleet:?}\n{access:?}\n{objects:?}")
    }

    /// Does something that must be refused, for one cause, with nothing changed.
    async fn refuses<T>(&self, cause: Cause, attempt: impl Future<Output = T>) -> T {
        let (dump, before) = (self.dump().await, self.metrics.refusals(cause));
        let answer = attempt.await;
        let counted = async {
            while self.metrics.refusals(cause) == before {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, counted).await.unwrap_or_else(|_| panic!("no refusal for {cause:?} is counted"));
        assert_eq!(self.metrics.refusals(cause), before + 1);
        assert_eq!(self.dump().await, dump, "the table has changed");
        answer
    }

    /// Registers a worker of a version.
    async fn register(&self, version: &str) -> Result<v1::RegisterReply, Status> {
        let request = v1::RegisterRequest {
            name: "w".into(),
            incarnation: "1".into(),
            version: version.into(),
            lanes: vec![v1::Lane { id: 0, device: "cpu".into() }],
            ..Default::default()
        };
        Ok(FleetClient::new(self.calls("worker")).register(request).await?.into_inner())
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

fn status(world: &World, token: &str) -> impl Future<Output = Result<v1::StatusReply, Status>> + use<> {
    let mut operator = world.operator(token);
    async move { Ok(operator.status(v1::StatusRequest::default()).await?.into_inner()) }
}

#[tokio::test]
async fn tokens_that_do_not_open_are_told_why() {
    let world = World::plain(|_| {}).await;
    for token in ["operator", "viewer"] {
        status(&world, token).await.unwrap();
    }
    for (token, cause, code, why) in [
        ("", Cause::NoToken, Code::Unauthenticated, "this coordinator wants a token"),
        ("stranger", Cause::UnknownToken, Code::Unauthenticated, "the token is not known here"),
        (
            "expired",
            Cause::ExpiredToken,
            Code::Unauthenticated,
            "the token `expired` ended at 1970-01-01T00:00:00Z",
        ),
        ("revoked", Cause::RevokedToken, Code::Unauthenticated, "the token `revoked` was revoked at 1970-"),
        (
            "worker",
            Cause::Role,
            Code::PermissionDenied,
            "the token `worker` has the role worker; Status needs viewer",
        ),
    ] {
        let refused = world.refuses(cause, status(&world, token)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().starts_with(why), "{refused}");
    }
    let quota = v1::QuotaRequest { owner: "ann".into(), max_lanes: Some(1) };
    let refused = world.refuses(Cause::Role, world.operator("viewer").quota(quota)).await.unwrap_err();
    assert_eq!(refused.message(), "the token `viewer` has the role viewer; Quota needs operator");
    world.operator("").hello(v1::HelloRequest {}).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn a_token_that_is_revoked_opens_nothing_from_then_on() {
    let world = World::plain(|_| {}).await;
    status(&world, "viewer").await.unwrap();
    let request = v1::RevokeTokenRequest { name: "viewer".into() };
    world.operator("operator").revoke_token(request).await.unwrap();
    let refused = world.refuses(Cause::RevokedToken, status(&world, "viewer")).await.unwrap_err();
    assert!(refused.message().starts_with("the token `viewer` was revoked at 2"), "{refused}");
    world.stop().await;
}

#[tokio::test]
async fn a_worker_of_another_version_does_not_get_in() {
    let world = World::plain(|_| {}).await;
    let refused = world.refuses(Cause::Told(Reason::Version), world.register("7.0.0")).await.unwrap_err();
    assert_eq!(Reason::of(&refused), Some(Reason::Version));
    let own = proto::version::OWN;
    let why = format!(
        "VERSION: the worker is of version `7.0.0`, the coordinator of {own}: install both from one release"
    );
    assert_eq!(refused.message(), why);
    world.stop().await;
}

#[tokio::test]
async fn a_message_above_the_limit_and_one_that_makes_no_sense_are_refused() {
    let world = World::plain(|_| {}).await;
    let large = v1::PlanRequest { manifest: "x".repeat(17 << 20), ..Default::default() };
    let refused =
        world.refuses(Cause::Oversized, world.operator("operator").submit(large)).await.unwrap_err();
    assert!(refused.message().contains("the limit is: 16777216 bytes"), "{refused}");
    let nonsense = v1::CreateTokenRequest { name: "x".into(), role: "king".into(), ..Default::default() };
    let refused =
        world.refuses(Cause::Invalid, world.operator("operator").create_token(nonsense)).await.unwrap_err();
    assert_eq!(refused.message(), "role: `king` is not a role");
    world.stop().await;
}

#[tokio::test]
async fn an_old_complete_that_is_replayed_changes_nothing() {
    let world = World::plain(|_| {}).await;
    let folder = world.place.path("").display().to_string();
    let manifest =
        v1::PlanRequest { manifest: MANIFEST.into(), folder, file: "demo.yaml".into(), ..Default::default() };
    world.operator("operator").submit(manifest).await.unwrap();
    let v1::RegisterReply { worker, term, .. } = world.register(proto::version::OWN).await.unwrap();
    let mut fleet = FleetClient::new(world.calls("worker"));
    let ask = v1::AcquireRequest { term, worker, free_slots: 1, ..Default::default() };
    let first = fleet.acquire(ask.clone()).await.unwrap().into_inner().offers.remove(0).task.unwrap();
    let give_back = v1::FailRequest { term, worker, task: Some(first), released: true, ..Default::default() };
    fleet.fail(give_back).await.unwrap();
    let second = fleet.acquire(ask).await.unwrap().into_inner().offers.remove(0).task.unwrap();
    assert_eq!((second.job, second.attempt), (first.job, first.attempt + 1));
    let artifact = Some(v1::Artifact { path: "manifests/1/1.json".into(), digest: "0".repeat(64) });
    let old = v1::CompleteRequest {
        term,
        worker,
        task: Some(first),
        role: "x".into(),
        artifact,
        ..Default::default()
    };
    let refused =
        world.refuses(Cause::Told(Reason::StaleAttempt), fleet.complete(old.clone())).await.unwrap_err();
    assert_eq!(Reason::of(&refused), Some(Reason::StaleAttempt));
    let strange = v1::CompleteRequest { term: term + 1, task: Some(second), ..old };
    world.refuses(Cause::Told(Reason::StaleTerm), fleet.complete(strange)).await.unwrap_err();
    world.stop().await;
}

#[tokio::test]
async fn nobody_calls_faster_than_he_may() {
    let world = World::plain(|settings| settings.calls_per_second = 1).await;
    let hasten = async {
        loop {
            if let Err(refused) = status(&world, "viewer").await {
                return refused;
            }
        }
    };
    let refused = world.refuses(Cause::Rate, hasten).await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().starts_with("too many calls: wait "), "{refused}");
    world.stop().await;
}

/// Says something on the port, and waits for the end of the connection.
async fn say(world: &World, words: &[u8]) {
    let address = world.url.rsplit('/').next().unwrap().to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words).await.unwrap();
    let closed = timeout(LONG, stream.read_to_end(&mut Vec::new())).await;
    drop(closed.expect("the port hangs up"));
}

#[tokio::test]
async fn garbage_and_silence_are_cut_off_and_others_are_served() {
    let world = World::plain(|settings| settings.handshake_timeout = Duration::from_millis(200)).await;
    for garbage in [
        b"\x16\x03\x01\x02\x00\x01".as_slice(),
        b"PRJ * HTTP/2.0\r\n",
        b"\0\0\0\0\0\0",
        b"POST / HTTP/1.1\r\n",
    ] {
        world.refuses(Cause::Garbage, say(&world, garbage)).await;
    }
    world.refuses(Cause::Handshake, say(&world, b"PR")).await;
    status(&world, "viewer").await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn no_more_connections_than_have_a_place() {
    let world = World::plain(|settings| settings.max_connections = 1).await;
    let mut first = world.operator("viewer");
    first.status(v1::StatusRequest::default()).await.unwrap();
    world.refuses(Cause::Connections, say(&world, b"")).await;
    first.status(v1::StatusRequest::default()).await.unwrap();
    drop(first);
    while status(&world, "viewer").await.is_err() {}
    world.stop().await;
}

/// The status over TLS; an error is what a person would read.
async fn encrypted_status(world: &World, ca: PathBuf, own: Option<(PathBuf, PathBuf)>) -> Result<(), String> {
    let (cert, key) = own.unzip();
    let credentials = Credentials { token: Token::new("viewer"), ca: Some(ca), cert, key };
    let mut operator = OperatorClient::new(world.calls_with(credentials));
    let answer = operator.status(v1::StatusRequest::default()).await;
    answer.map(drop).map_err(|status| root_cause(&status))
}

#[tokio::test]
async fn certificates_are_held_against_their_time_and_their_authority() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let world = World::encrypted(&authority, 2999, false).await;
    let ca = authority.publish(&world.place, "ca.pem");
    encrypted_status(&world, ca, None).await.unwrap();
    let wrong = other.publish(&world.place, "other.pem");
    let refused = world.refuses(Cause::Handshake, encrypted_status(&world, wrong, None)).await.unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    world.refuses(Cause::Handshake, say(&world, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).await;
    world.stop().await;

    let world = World::encrypted(&authority, 2020, false).await;
    let ca = authority.publish(&world.place, "ca.pem");
    let refused = world.refuses(Cause::Handshake, encrypted_status(&world, ca, None)).await.unwrap_err();
    assert!(refused.contains("certificate expired"), "{refused}");
    world.stop().await;
}

#[tokio::test]
async fn clients_show_certificates_where_the_port_demands_them() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let world = World::encrypted(&authority, 2999, true).await;
    let (place, ca) = (&world.place, authority.publish(&world.place, "ca.pem"));
    let good = authority.sign(place, "good", 2999);
    encrypted_status(&world, ca.clone(), Some(good)).await.unwrap();
    for (own, why) in [
        (None, "CertificateRequired"),
        (Some(authority.sign(place, "old", 2020)), "CertificateExpired"),
        (Some(other.sign(place, "strange", 2999)), "UnknownCA"),
    ] {
        let refused =
            world.refuses(Cause::Handshake, encrypted_status(&world, ca.clone(), own)).await.unwrap_err();
        assert!(refused.contains(why), "{why}: {refused}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_renewed_is_shown_without_a_stop() {
    let (authority, next) = (Authority::new("one"), Authority::new("other"));
    let world = World::encrypted(&authority, 2999, false).await;
    let ca = authority.publish(&world.place, "ca.pem");
    encrypted_status(&world, ca.clone(), None).await.unwrap();
    next.sign(&world.place, "port", 2999);
    let ca = next.publish(&world.place, "next.pem");
    let renewed = async { while encrypted_status(&world, ca.clone(), None).await.is_err() {} };
    timeout(LONG, renewed).await.expect("the new certificate is shown");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_shown_once_listed_and_revoked() {
    let place = Place::new();
    let refused = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    let why = text(&refused.stderr);
    assert!(
        why.contains(
            "no operator's token exists: make one by `coordinator token create NAME --role operator`"
        ),
        "{why}"
    );
    let beyond = text(&place.run(&["serve", "--listen", "0.0.0.0:0", "--open"]).stderr);
    assert!(
        beyond.contains("beyond this machine: name a certificate by `tls_cert` and `tls_key`"),
        "{beyond}"
    );

    let ann =
        text(&place.run(&["token", "create", "ann", "--role", "operator", "--dir", "quiver-data"]).stdout);
    let own = place.json(&["token", "list", "--dir", "quiver-data", "--json"]);
    assert_eq!((&own["tokens"][0]["name"], &own["tokens"][0]["role"]), (&"ann".into(), &"operator".into()));
    let world = World::start(place, |_| {}).await;
    let run = |token: &str, args: &[&str]| -> Output {
        let args = [args, &["--coordinator", &world.url]].concat();
        let program = Path::new(env!("CARGO_BIN_EXE_coordinator"));
        world.place.command(program, &args).env("QUIVER_TOKEN", token).output().unwrap()
    };
    let why = |output: Output| {
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        text(&output.stderr)
    };
    let ann = ann.trim();
    let made = run(ann, &["token", "create", "bob", "--role", "viewer", "--expires", "1h", "--json"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let bob = made["token"].as_str().unwrap();
    assert!(run(bob, &["status"]).status.success());
    assert_eq!(
        why(run(bob, &["token", "list"])),
        "error: the token `bob` has the role viewer; Tokens needs operator\n"
    );
    assert_eq!(
        why(run(ann, &["token", "create", "bob", "--role", "worker"])),
        "error: there is or was a token `bob` already\n"
    );
    let list = text(&run(ann, &["token", "list"]).stdout);
    assert!(list.contains("ann") && list.contains("bob") && !list.contains(bob), "{list}");
    assert!(run(ann, &["token", "revoke", "bob"]).status.success());
    assert!(why(run(bob, &["status"])).starts_with("error: the token `bob` was revoked at "));
    assert!(
        why(run("x y", &["status"]))
            .starts_with("error: QUIVER_TOKEN: a token is 1 to 512 visible characters")
    );
    world.stop().await;
}
