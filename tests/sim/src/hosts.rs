//! The machines: two coordinators, workers, an operator. Each runs the product's own code.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use coordinator::loops::Serving;
use coordinator::metrics::Metrics;
use coordinator::reign::{Clocks, reign};
use coordinator::server;
use coordinator_store::Store;
use proto::v1;
use proto::v1::operator_client::OperatorClient;
use proto_kit::clock::Clock;
use rand::RngExt;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use worker::{Exit, Fleet, Settings, Size, Worker};

use crate::plan::Answer;
use crate::runner::Runners;
use crate::throne::Claim;
use crate::world::{World, policy};
use crate::{net, objects};

/// The machines of coordinators.
pub(crate) const COORDINATORS: [&str; 2] = ["head-1", "head-2"];
/// How long a reign lasts without being renewed.
const LEADER_TTL: Duration = Duration::from_secs(6);
/// How long a supervisor waits before it starts a process again that has ended.
const RESTART: Duration = Duration::from_secs(1);

type Ended = Result<(), Box<dyn std::error::Error>>;

/// A machine's clocks. The one that tells the time of day may be set.
#[derive(Clone)]
struct Clocked {
    world: Arc<World>,
    host: String,
    started: Instant,
}

impl std::fmt::Debug for Clocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clocked")
    }
}

impl Clock for Clocked {
    fn now_micros(&self) -> i64 {
        self.world.wall(&self.host)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A machine, which knows how often a process was started on it.
#[derive(Clone)]
pub(crate) struct Host {
    world: Arc<World>,
    name: String,
    starts: Arc<AtomicU32>,
}

impl Host {
    /// A machine of that name.
    pub(crate) fn new(world: &Arc<World>, name: &str) -> Self {
        Self { world: Arc::clone(world), name: name.to_owned(), starts: Arc::default() }
    }

    /// A name for the process that starts.
    fn process(&self) -> String {
        let process = format!("{}.{}", self.name, self.starts.fetch_add(1, Ordering::Relaxed));
        self.world.note(&self.name, format_args!("{process} starts"));
        process
    }

    fn clock(&self) -> Arc<dyn Clock> {
        let (world, host) = (Arc::clone(&self.world), self.name.clone());
        Arc::new(Clocked { world, host, started: Instant::now() })
    }

    /// A coordinator, which leads or stands by.
    pub(crate) async fn coordinate(self) -> Ended {
        let listener = net::listen().await?;
        let artifacts = objects::open(&self.world, &self.name);
        let clock = self.clock();
        let claim = Claim::new(Arc::clone(&self.world), &self.name, self.process(), LEADER_TTL);
        let metrics = Arc::<Metrics>::default();
        let serving = |store: Arc<dyn Store>| Serving {
            store,
            planner: Arc::new(Answer { plan: Arc::clone(&self.world.plan), artifacts: artifacts.clone() }),
            artifacts: artifacts.clone(),
            clock: Arc::clone(&clock),
            settings: server::Settings { policy: policy(), ..server::Settings::new(objects::URL) },
            metrics: Arc::clone(&metrics),
        };
        let accept = || net::incoming(&listener);
        let (clocks, never) = (Clocks { ttl: LEADER_TTL }, CancellationToken::new());
        reign(accept, &claim, clocks, policy(), serving, &metrics, never).await?;
        Ok(())
    }

    /// A worker, started again whenever it ends.
    pub(crate) async fn work(self, dir: PathBuf, lanes: usize) -> Ended {
        loop {
            let ended = self.worker(&dir, lanes)?.run(self.exit()).await;
            self.world.note(&self.name, format_args!("the worker ends: {}", describe(&ended)));
            sleep(RESTART).await;
        }
    }

    fn exit(&self) -> Exit {
        let exit = Exit::default();
        self.world.on_drain(&self.name, exit.clone());
        exit
    }

    fn worker(&self, dir: &std::path::Path, lanes: usize) -> Result<Worker, worker::Error> {
        let world = Arc::clone(&self.world);
        let settings = Settings {
            device: (0..lanes).map(|lane| format!("cuda:{lane}")).collect(),
            name: Some(self.name.clone()),
            dir: dir.join(&self.name),
            drain_grace: Duration::from_secs(4),
            stop_timeout: Duration::from_secs(20),
            min_free_disk: Size(0),
            ..Settings::default()
        };
        let (seen, host) = (Arc::clone(&self.world), self.name.clone());
        let mut channels = Vec::new();
        for machine in COORDINATORS {
            channels.push((net::url(machine), net::channel(machine)?));
        }
        Ok(Worker {
            fleet: Fleet::over(channels),
            launch: Arc::new(Runners { world: Arc::clone(&world), host: self.name.clone() }),
            store: Arc::new(move |_| Ok(objects::open(&seen, &host))),
            clock: self.clock(),
            incarnation: self.process(),
            seed: world.draw(|random| random.random()),
            host: self.name.clone(),
            free_space: Arc::new(|_| Ok(u64::MAX)),
            metrics: Arc::default(),
            settings,
        })
    }

    /// An operator, who submits the sweep until it is accepted.
    pub(crate) async fn operate(self) -> Ended {
        let request = v1::PlanRequest { owner: "operator".to_owned(), ..Default::default() };
        for machine in COORDINATORS.into_iter().cycle() {
            let mut client = OperatorClient::new(net::channel(machine)?);
            match timeout(Duration::from_secs(20), client.submit(request.clone())).await {
                Ok(Ok(reply)) => {
                    self.world.note(&self.name, format_args!("sweep {}", reply.into_inner().sweep));
                    return Ok(());
                }
                Ok(Err(refused)) => {
                    self.world.note(&self.name, format_args!("not submitted: {}", refused.message()));
                }
                Err(_) => self.world.note(&self.name, format_args!("no answer")),
            }
            sleep(RESTART).await;
        }
        Ok(())
    }
}

fn describe(ended: &Result<(), worker::Error>) -> String {
    match ended {
        Ok(()) => "in good order".to_owned(),
        Err(error) => error.to_string(),
    }
}
