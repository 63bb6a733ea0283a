//! A lane's calls for jobs: one for slots that are free, and one for jobs to hold ready. They are apart, so that a slot that becomes
//! free need not wait for the answer to the other.

use std::sync::Arc;
use std::time::Duration;

use proto::error::Reason;
use proto::v1;
use proto_kit::retry::Backoff;
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use super::jobs::Assigned;
use super::roster::{self, Demand};
use super::{Event, Lane};
use crate::fleet::CallError;

/// How long one call of an idle lane waits for jobs.
const WAIT: Duration = Duration::from_secs(20);
/// How long one call waits for more of a fan. Short, because a lane that meanwhile falls idle can ask for other jobs only after the
/// answer: hanging up instead would lose the jobs of an answer on its way.
const REFILL_WAIT: Duration = Duration::from_secs(1);
/// How long one call waits for jobs to hold ready.
const PREFETCH_WAIT: Duration = Duration::from_secs(5);

/// The longest pause between two calls: so soon a lane notices that the coordinator is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The calls that are out.
#[derive(Debug)]
pub(super) struct Calls {
    for_slots: bool,
    ahead: bool,
    backoff: Backoff,
    /// Wait before the next call, after one that failed.
    delay: Duration,
}

impl Calls {
    pub(super) fn new(seed: u64) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), LONGEST_PAUSE, seed);
        Self { for_slots: false, ahead: false, backoff, delay: Duration::ZERO }
    }
}

impl Lane {
    /// Asks for jobs if there is room and nothing is asked yet.
    pub(super) fn acquire(&mut self) {
        if self.version.is_none() || self.calls.for_slots || self.node.drain.plan().is_some() {
            return;
        }
        let now = Instant::now();
        let Demand { fan, free_slots, prefetch } =
            roster::demand(self.jobs.iter().map(|assigned| assigned.seat(now)));
        let prefetch = if self.calls.ahead { 0 } else { prefetch };
        let wait = match (free_slots, fan) {
            (0, _) if prefetch == 0 => return,
            (0, _) => PREFETCH_WAIT,
            (_, "") => WAIT,
            (_, _) => REFILL_WAIT,
        };
        let out = if free_slots == 0 { &mut self.calls.ahead } else { &mut self.calls.for_slots };
        *out = true;
        let (node, delay) = (Arc::clone(&self.node), self.calls.delay);
        let mut request = v1::AcquireRequest {
            term: 0,
            worker: 0,
            lane: self.id.0,
            fan: fan.to_owned(),
            free_slots: u32::try_from(free_slots).unwrap_or(u32::MAX),
            wait_ms: wait.as_millis() as u64,
            prefetch: u32::try_from(prefetch).unwrap_or(u32::MAX),
        };
        let call = async move {
            let answer = async {
                sleep(delay).await;
                node.disk.room().await;
                let ticket = node.session.ticket().await;
                (request.term, request.worker) = (ticket.term, ticket.worker);
                let answer = node.fleet.acquire(request).await;
                if let Err(CallError::Refused(Reason::SessionLost | Reason::StaleTerm, _)) = &answer {
                    node.session.lost(ticket);
                }
                answer.map(|reply| reply.offers)
            };
            let answer = tokio::select! {
                biased;
                answer = answer => answer,
                () = node.drain.begun() => Ok(Vec::new()),
            };
            Event::Offered(free_slots, answer)
        };
        self.background.spawn(call.in_current_span());
    }

    /// The coordinator's answer to a call for `slots` slots.
    pub(super) fn answered(&mut self, slots: usize, answer: Result<Vec<v1::Offer>, CallError>) {
        let out = if slots == 0 { &mut self.calls.ahead } else { &mut self.calls.for_slots };
        *out = false;
        match answer {
            Ok(offers) => {
                self.calls.backoff.reset();
                self.calls.delay = Duration::ZERO;
                if slots > 0 && offers.is_empty() {
                    // Nobody waits for these slots.
                    self.freed.clear();
                }
                for offer in offers {
                    self.admit(offer);
                }
            }
            Err(error) => {
                if matches!(error, CallError::Refused(..)) {
                    // The coordinator is there, and the next call waits for another session.
                    self.calls.backoff.reset();
                }
                self.calls.delay = self.calls.backoff.delay();
                tracing::debug!(%error, "no answer to the call for jobs");
            }
        }
    }

    /// Hands the runner every job that can start.
    pub(super) fn feed(&mut self) {
        let (Some(runner), Some(_)) = (&mut self.runner, &self.version) else { return };
        let now = Instant::now();
        while let Some(n) = roster::next(self.jobs.iter().map(|assigned| assigned.seat(now))) {
            if !self.jobs.iter().any(Assigned::is_computing) {
                // The slots of the group before are gone: the lane is idle since its last job ended.
                self.freed.drain(..self.freed.len().saturating_sub(1));
                // Whether the last stop was obeyed shows by an answer to this start.
                self.obey_by = self.obey_by.map(|_| now + self.node.stop_timeout);
            }
            let Some(start) = self.jobs.get_mut(n).and_then(Assigned::hand_over) else { return };
            if let Some(since) = self.freed.pop_front() {
                let gap = now - since;
                self.node.metrics.gaps.note(gap);
                tracing::debug!(job = %start.task.job, gap_ms = gap.as_millis() as u64, "a slot was refilled");
            }
            self.node.logs.open(self.id, start.task, start.key);
            runner.send(proto::pipe::ToRunner::Start(start));
        }
    }
}
