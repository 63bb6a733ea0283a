//! A coordinator in memory: hands out scripted offers, records what workers say, goes away and refuses on demand.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::error::{Reason, StandsBy};
use proto::v1;
use proto::v1::fleet_server::{Fleet, FleetServer};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What has happened and what shall.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) term: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) store: String,
    /// Jobs to offer.
    pub(crate) ready: VecDeque<v1::Offer>,
    /// Answers every call with UNAVAILABLE.
    pub(crate) away: bool,
    /// Stands by for the leader at this address, or for nobody if it is empty.
    pub(crate) stands_by: Option<String>,
    /// Answers only heartbeats and registrations so.
    pub(crate) deaf: bool,
    /// Jobs whose attempts are stale.
    pub(crate) stale: BTreeSet<i64>,
    /// Jobs that the next heartbeat's answer stops.
    pub(crate) stop: BTreeSet<i64>,
    /// Grants what a lane wants to hold ready, whatever its fan.
    pub(crate) prefetch: bool,
    /// How long a call for jobs takes at least.
    pub(crate) acquire_takes: Duration,
    /// What heartbeats are told about a drain: its grace in milliseconds.
    pub(crate) drain: Option<u64>,
    /// Whether another worker has taken the name.
    pub(crate) superseded: bool,
    /// How many further commits name a condemned object, and how many further checkpoints.
    pub(crate) condemned: (u32, u32),
    /// Calls for jobs.
    pub(crate) acquired: Vec<v1::AcquireRequest>,
    /// Heartbeats, and whether the last one told of a drain.
    pub(crate) heartbeats: u32,
    pub(crate) draining: bool,
    /// Names of the calls that were turned away, oldest first.
    pub(crate) turned_away: Vec<&'static str>,
    pub(crate) registrations: Vec<v1::RegisterRequest>,
    pub(crate) heartbeat: Vec<v1::Held>,
    pub(crate) completed: Vec<v1::CompleteRequest>,
    pub(crate) failed: Vec<v1::FailRequest>,
    pub(crate) checkpoints: Vec<v1::CheckpointedRequest>,
}

impl Table {
    pub(crate) fn running(&self) -> BTreeSet<i64> {
        self.heartbeat.iter().filter(|held| held.running).map(|held| held.task.unwrap().job).collect()
    }

    pub(crate) fn waiting(&self) -> BTreeSet<i64> {
        self.heartbeat.iter().filter(|held| !held.running).map(|held| held.task.unwrap().job).collect()
    }

    /// Jobs that were given back, in that order.
    pub(crate) fn released(&self) -> Vec<i64> {
        self.failed.iter().filter(|fail| fail.released).map(|fail| fail.task.unwrap().job).collect()
    }

    pub(crate) fn is_completed(&self, job: i64) -> bool {
        self.completed.iter().any(|complete| complete.task.unwrap().job == job)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct FakeFleet {
    table: Arc<Mutex<Table>>,
    changed: Arc<Notify>,
    pub(crate) address: SocketAddr,
}

impl FakeFleet {
    /// Serves on a free port.
    pub(crate) async fn serve(store: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let table = Table {
            term: 1,
            ttl_ms: 30_000,
            store: store.to_owned(),
            ready: VecDeque::new(),
            away: false,
            stands_by: None,
            deaf: false,
            stale: BTreeSet::new(),
            stop: BTreeSet::new(),
            prefetch: false,
            acquire_takes: Duration::ZERO,
            drain: None,
            superseded: false,
            condemned: (0, 0),
            acquired: Vec::new(),
            heartbeats: 0,
            draining: false,
            turned_away: Vec::new(),
            registrations: Vec::new(),
            heartbeat: Vec::new(),
            completed: Vec::new(),
            failed: Vec::new(),
            checkpoints: Vec::new(),
        };
        let address = listener.local_addr().unwrap();
        let fleet = Self { table: Arc::new(Mutex::new(table)), changed: Arc::default(), address };
        let service = FleetServer::new(fleet.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        fleet
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes or reads the table.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let value = change(&mut self.table.lock().unwrap());
        self.changed.notify_waiters();
        value
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Table) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if so(&self.table.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        if timeout(Duration::from_secs(20), wait).await.is_err() {
            panic!("{what} did not happen; the table is {:#?}", self.table.lock().unwrap());
        }
    }

    /// Refuses a call if the coordinator is away or has another term; else does it.
    fn call<T>(
        &self,
        name: &'static str,
        term: u64,
        change: impl FnOnce(&mut Table) -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        let answer = {
            let table = &mut *self.table.lock().unwrap();
            Self::answer(name, term, table, change)
        };
        // A call for jobs waits for changes itself.
        if name != "acquire" {
            self.changed.notify_waiters();
        }
        answer
    }

    fn answer<T>(
        name: &'static str,
        term: u64,
        table: &mut Table,
        change: impl FnOnce(&mut Table) -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        if table.away || (table.deaf && ["heartbeat", "register"].contains(&name)) {
            table.turned_away.push(name);
            return Err(Status::unavailable("away"));
        }
        if let Some(leader) = &table.stands_by {
            table.turned_away.push(name);
            return Err(StandsBy { leader: leader.clone() }.refusal());
        }
        if name != "register" && term != table.term {
            return Err(Reason::StaleTerm.refusal("another reign"));
        }
        change(table).map(Response::new)
    }

    fn write<T>(
        &self,
        name: &'static str,
        term: u64,
        task: Option<v1::Task>,
        change: impl FnOnce(&mut Table) -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        self.call(name, term, |table| {
            if table.stale.contains(&task.unwrap().job) {
                table.turned_away.push(name);
                return Err(Reason::StaleAttempt.refusal("a newer attempt exists"));
            }
            change(table)
        })
    }
}

fn refuse_condemned(further: &mut u32) -> Result<(), Status> {
    match further.checked_sub(1) {
        None => Ok(()),
        Some(rest) => {
            *further = rest;
            Err(Reason::Condemned.refusal("an object is about to be deleted"))
        }
    }
}

#[tonic::async_trait]
impl Fleet for FakeFleet {
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        let request = request.into_inner();
        self.call("register", 0, |table| {
            table.registrations.push(request.clone());
            let (fenced, keep) = request.held.into_iter().partition(|task| table.stale.contains(&task.job));
            Ok(v1::RegisterReply {
                worker: 5,
                term: table.term,
                lease_ttl_ms: table.ttl_ms,
                heartbeat_ms: 30,
                store: table.store.clone(),
                keep,
                fenced,
            })
        })
    }

    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireReply>, Status> {
        let request = request.into_inner();
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms);
        let takes = self.with(|table| {
            table.acquired.push(request.clone());
            table.acquire_takes
        });
        tokio::time::sleep(takes).await;
        loop {
            let changed = self.changed.notified();
            let reply = self.call("acquire", request.term, |table| {
                let mut offers = Vec::new();
                let mut fan = request.fan.clone();
                while offers.len() < request.free_slots as usize {
                    let fits = |offer: &v1::Offer| fan.is_empty() || offer.fan == fan;
                    let Some(found) = table.ready.iter().position(fits) else { break };
                    offers.extend(table.ready.remove(found).inspect(|offer| fan = offer.fan.clone()));
                }
                if table.prefetch {
                    let ahead = table.ready.len().min(request.prefetch as usize);
                    offers.extend(table.ready.drain(..ahead));
                }
                Ok(v1::AcquireReply { offers })
            })?;
            if !reply.get_ref().offers.is_empty() || Instant::now() >= deadline {
                return Ok(reply);
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatReply>, Status> {
        let request = request.into_inner();
        self.call("heartbeat", request.term, |table| {
            if table.superseded {
                return Err(Reason::Superseded.refusal("another worker has the name"));
            }
            table.heartbeat = request.held.clone();
            table.heartbeats += 1;
            table.draining = request.draining;
            let stopped = request
                .held
                .iter()
                .filter_map(|held| held.task)
                .filter(|task| table.stop.contains(&task.job));
            let stop = |task| v1::Directive { task: Some(task), kind: v1::directive::Kind::Stop.into() };
            Ok(v1::HeartbeatReply {
                directives: stopped.map(stop).collect(),
                drain: table.drain.is_some(),
                drain_grace_ms: table.drain.unwrap_or_default(),
            })
        })
    }

    async fn checkpointed(
        &self,
        request: Request<v1::CheckpointedRequest>,
    ) -> Result<Response<v1::CheckpointedReply>, Status> {
        let request = request.into_inner();
        self.write("checkpointed", request.term, request.task, |table| {
            refuse_condemned(&mut table.condemned.1)?;
            table.checkpoints.push(request.clone());
            Ok(v1::CheckpointedReply {})
        })
    }

    async fn complete(
        &self,
        request: Request<v1::CompleteRequest>,
    ) -> Result<Response<v1::CompleteReply>, Status> {
        let request = request.into_inner();
        self.write("complete", request.term, request.task, |table| {
            refuse_condemned(&mut table.condemned.0)?;
            table.completed.push(request.clone());
            Ok(v1::CompleteReply { artifact: request.artifact.clone() })
        })
    }

    async fn fail(&self, request: Request<v1::FailRequest>) -> Result<Response<v1::FailReply>, Status> {
        let request = request.into_inner();
        self.write("fail", request.term, request.task, |table| {
            table.failed.push(request.clone());
            Ok(v1::FailReply {})
        })
    }
}
