//! A lane: one device, its runner, and the jobs in it. The lane acquires jobs ahead of need, prepares their inputs, hands them to the
//! runner, and sends what comes back to the outbox; it never waits for the network itself.
//!
//! Its loop is one step that can be repeated at any time (drain, feed, acquire) and the news that make it worth repeating.

mod calls;
mod drain;
mod jobs;
mod pace;
mod roster;
mod runner;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proto::id::LaneId;
use proto::pipe::{FromRunner, Start, Task};
use proto::v1;
use proto_kit::retry::Backoff;
use proto_kit::telemetry::field;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use self::calls::Calls;
use self::jobs::Assigned;
use crate::error::Error;
use crate::fleet::CallError;
use crate::inputs::Folders;
use crate::launch::Runner;
use crate::node::Node;
use crate::outbox::Failure;

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
    /// When a runner that was told to stop a job, and has said nothing about the others since, is given up.
    obey_by: Option<Instant>,
    /// In the order of their arrival.
    jobs: Vec<Assigned>,
    calls: Calls,
    /// Since when slots are free for which the coordinator may have jobs.
    freed: VecDeque<Instant>,
    /// Jobs in the lane when the drain's progress was last told.
    drain_told: Option<usize>,
    background: JoinSet<Event>,
}

/// The end of something that the lane does beside its runner.
enum Event {
    /// The coordinator answered a call for this many slots.
    Offered(usize, Result<Vec<v1::Offer>, CallError>),
    /// A job's inputs are there, or not.
    Prepared(Task, Box<Result<(Start, Folders), Failure>>),
    /// A checkpoint is saved, or given up.
    Saved(Task),
    /// Nothing is left of an attempt.
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
            obey_by: None,
            jobs: Vec::new(),
            calls: Calls::new(seed),
            freed: VecDeque::new(),
            drain_told: None,
            background: JoinSet::new(),
        }
    }

    /// Works until the worker leaves or stops.
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
        let stop = self.node.stop.clone();
        let mut drain = self.node.drain.watch();
        let mut drops = self.node.held.drops();
        loop {
            self.drain();
            self.feed();
            self.acquire();
            if self.is_over() {
                return Ok(());
            }
            let alarm = self.alarm();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // The senders live in the node, so that these wait for changes.
                _ = drops.changed() => self.drop_unwanted(),
                _ = drain.changed() => {}
                message = next(&mut self.runner) => match message {
                    Some(message) => self.hear(message)?,
                    None => self.bury().await?,
                },
                Some(event) = self.background.join_next() => self.handle(event),
                () = at(alarm) => self.mind_the_runner().await?,
            }
        }
    }

    fn handle(&mut self, event: Result<Event, JoinError>) {
        match event {
            Ok(Event::Offered(slots, answer)) => self.answered(slots, answer),
            Ok(Event::Prepared(task, prepared)) => self.prepared(task, *prepared),
            Ok(Event::Saved(task)) => self.saved(task),
            Ok(Event::Ended) => {}
            Err(error) => tracing::error!(%error, "a part of the lane broke down"),
        }
    }

    /// Whether the worker leaves and nothing of this lane is left.
    fn is_over(&self) -> bool {
        self.is_leaving() && self.jobs.is_empty() && self.background.is_empty()
    }

    fn is_leaving(&self) -> bool {
        self.node.drain.plan().is_some_and(|plan| plan.leaving)
    }

    /// When the next step is due even without news.
    fn alarm(&self) -> Option<Instant> {
        [self.runner_alarm(), self.drain_alarm()].into_iter().flatten().min()
    }
}

/// The runner's next message; waits for ever where there is no runner.
async fn next(runner: &mut Option<Box<dyn Runner>>) -> Option<FromRunner> {
    match runner {
        Some(runner) => runner.next().await,
        None => std::future::pending().await,
    }
}

/// Waits until then, or for ever.
async fn at(alarm: Option<Instant>) {
    match alarm {
        Some(alarm) => sleep_until(alarm).await,
        None => std::future::pending().await,
    }
}
