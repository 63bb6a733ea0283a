//! A lane: one device, its runner process, and the jobs in it. The lane acquires jobs while it has room, prepares their inputs, hands
//! them to the runner, and sends what comes back to the outbox; it never waits for the network itself.
//!
//! A job with a fan shares the lane with jobs of the same fan, up to the fan's slots; any other job has the lane for itself.

mod jobs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::error::Reason;
use proto::id::LaneId;
use proto::pipe::{FromRunner, Task};
use proto::v1;
use proto_kit::retry::Backoff;
use proto_kit::telemetry::field;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument;

use self::jobs::Assigned;
use crate::error::Error;
use crate::fleet::CallError;
use crate::launch::Runner;
use crate::node::Node;
use crate::outbox::Failure;

/// How long one call of an idle lane waits for jobs.
const WAIT: Duration = Duration::from_secs(20);
/// How long one call waits for more of a fan. Short, because a lane that meanwhile falls idle can ask for other jobs only after the
/// answer: hanging up instead would lose the jobs of an answer on its way.
const REFILL_WAIT: Duration = Duration::from_secs(1);
/// How long a runner may take from its start to its first word.
const HELLO: Duration = Duration::from_secs(120);

/// One device of this worker.
pub(crate) struct Lane {
    node: Arc<Node>,
    id: LaneId,
    device: String,
    runner: Option<Box<dyn Runner>>,
    /// The runner's version once it is up.
    version: Option<String>,
    /// Whether any runner of this lane has ever been up.
    proven: bool,
    /// When a runner that is down is started again, or one that is silent is given up.
    deadline: Instant,
    restarts: Backoff,
    tasks: BTreeMap<Task, Assigned>,
    /// The fan of the jobs in the lane; empty for none.
    fan: String,
    /// Jobs of that fan that fit.
    slots: usize,
    /// Whether a call for jobs is out.
    acquiring: bool,
    acquire_backoff: Backoff,
    /// Wait before the next such call, after one that failed.
    acquire_delay: Duration,
    background: JoinSet<Event>,
}

/// The end of something that the lane does beside its runner.
enum Event {
    /// The coordinator answered.
    Offered(Result<Vec<v1::Offer>, CallError>),
    /// A job's inputs are there, or not.
    Prepared(Task, Box<Result<proto::pipe::Start, Failure>>),
    /// A checkpoint is saved, or given up.
    Saved(Task),
    /// Nothing is left of an attempt, or of a runner.
    Ended,
}

impl Lane {
    /// A lane without a runner.
    pub(crate) fn new(node: Arc<Node>, id: LaneId, device: String) -> Self {
        let seed = node.seed.wrapping_add(u64::from(id.0));
        Self {
            node,
            id,
            device,
            runner: None,
            version: None,
            proven: false,
            deadline: Instant::now(),
            restarts: Backoff::new(Duration::from_millis(200), Duration::from_secs(30), seed),
            tasks: BTreeMap::new(),
            fan: String::new(),
            slots: 1,
            acquiring: false,
            acquire_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5), seed),
            acquire_delay: Duration::ZERO,
            background: JoinSet::new(),
        }
    }

    /// Works until the node drains or stops.
    ///
    /// # Errors
    /// When no runner for the device can be started at all.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let span = tracing::info_span!("lane", { field::LANE } = self.id.0);
        let worked = self.work().instrument(span).await;
        if let Some(runner) = self.runner.take() {
            runner.end().await;
        }
        worked
    }

    async fn work(&mut self) -> Result<(), Error> {
        let (drain, stop) = (self.node.drain.clone(), self.node.stop.clone());
        let mut drops = self.node.held.drops();
        while !drain.is_cancelled() {
            self.acquire();
            tokio::select! {
            biased;
                           () = stop.cancelled() => return Ok(()),
                           () = drain.cancelled() => {}
                           message = next(&mut self.runner) => match message {
                               Some(message) => self.hear(message).await?,
                               None => self.bury().await?,
                           },
                           () = sleep_until(self.deadline), if self.version.is_none() => self.restart().await?,
                           Some(event) = self.background.join_next() => self.handle(event).await,
                           // The sender lives in the node, so that this waits for a change.
                           _ = drops.changed() => self.drop_unwanted().await,
                       }
        }
        self.give_back();
        loop {
            tokio::select! {
            biased;
                           () = stop.cancelled() => return Ok(()),
                           event = self.background.join_next() => match event {
                               Some(_) => {}
                               None => return Ok(()),
                           },
                       }
        }
    }

    /// Asks for jobs if there is room and nothing is asked yet.
    fn acquire(&mut self) {
        let room = if self.tasks.is_empty() { 1 } else { self.slots.saturating_sub(self.tasks.len()) };
        let alone = !self.tasks.is_empty() && self.fan.is_empty();
        if self.version.is_none() || self.acquiring || room == 0 || alone {
            return;
        }
        let (node, lane, fan, delay) =
            (Arc::clone(&self.node), self.id.0, self.fan.clone(), self.acquire_delay);
        let free_slots = u32::try_from(room).unwrap_or(u32::MAX);
        let wait = if fan.is_empty() { WAIT } else { REFILL_WAIT };
        let call = async move {
            sleep(delay).await;
            let ticket = node.session.ticket().await;
            let (term, worker, wait_ms) = (ticket.term, ticket.worker, wait.as_millis() as u64);
            let request = v1::AcquireRequest { term, worker, lane, fan, free_slots, wait_ms, prefetch: 0 };
            let answer = node.fleet.acquire(request).await;
            if let Err(CallError::Refused(Reason::SessionLost | Reason::StaleTerm, _)) = &answer {
                node.session.lost(ticket);
            }
            answer.map(|reply| reply.offers)
        };
        let drain = self.node.drain.clone();
        self.acquiring = true;
        self.background.spawn(
            async move {
                tokio::select! {
                biased;
                                   () = drain.cancelled() => Event::Offered(Ok(Vec::new())),
                                   answer = call => Event::Offered(answer),
                               }
            }
            .in_current_span(),
        );
    }

    async fn handle(&mut self, event: Result<Event, JoinError>) {
        match event {
            Ok(Event::Offered(answer)) => {
                self.acquiring = false;
                match answer {
                    Ok(offers) => {
                        self.acquire_backoff.reset();
                        self.acquire_delay = Duration::ZERO;
                        for offer in offers {
                            self.admit(offer);
                        }
                    }
                    Err(error) => {
                        self.acquire_delay = self.acquire_backoff.delay();
                        tracing::debug!(%error, "no answer to the call for jobs");
                    }
                }
            }
            Ok(Event::Prepared(task, prepared)) => self.prepared(task, *prepared).await,
            Ok(Event::Saved(task)) => self.saved(task),
            Ok(Event::Ended) => {}
            Err(error) => tracing::error!(%error, "a part of the lane broke down"),
        }
    }

    /// Starts a runner, or gives up one that says nothing.
    async fn restart(&mut self) -> Result<(), Error> {
        if self.runner.is_some() {
            tracing::error!("the runner did not say a word for {} s", HELLO.as_secs());
            return self.bury().await;
        }
        let launched = self.node.launch.launch(&self.device);
        let failed =
            |error: std::io::Error| Error::Runner { device: self.device.clone(), how: error.to_string() };
        self.runner = Some(launched.map_err(failed)?);
        self.deadline = Instant::now() + HELLO;
        Ok(())
    }

    /// The runner has ended: its jobs fail, and another is started after a while.
    async fn bury(&mut self) -> Result<(), Error> {
        let Some(runner) = self.runner.take() else { return Ok(()) };
        self.version = None;
        let how = runner.end().await;
        if !self.proven {
            return Err(Error::Runner { device: self.device.clone(), how });
        }
        tracing::error!(how, jobs = self.tasks.len(), "the runner died");
        self.fail_running(&format!("the runner of device {} died: {how}", self.device));
        self.deadline = Instant::now() + self.restarts.delay();
        Ok(())
    }

    /// The runner's first word.
    fn greet(&mut self, device: &str, version: String) -> Result<(), Error> {
        if version != env!("CARGO_PKG_VERSION") {
            return Err(Error::Version { device: self.device.clone(), version });
        }
        tracing::info!(device, version, "the runner is up");
        self.version = Some(version);
        self.proven = true;
        Ok(())
    }
}

/// The runner's next message; waits for ever where there is no runner.
async fn next(runner: &mut Option<Box<dyn Runner>>) -> Option<FromRunner> {
    match runner {
        Some(runner) => runner.next().await,
        None => std::future::pending().await,
    }
}
