//! The session with the coordinator: registered, renewed by heartbeats, trusted for a while after each, opened again after a loss.
//!
//! A lease counts from the moment its request was *sent*, on a monotonic clock, minus a margin. Whoever commits asks for a [`Ticket`]
//! and waits while there is none; computing never waits.

use std::sync::Arc;
use std::time::Duration;

use proto::error::Reason;
use proto::v1;
use proto_kit::clock::Clock;
use proto_kit::retry::Backoff;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::drain::Drain;
use crate::error::Error;
use crate::fleet::{CallError, Fleet};
use crate::held::{Held, task};
use crate::metrics::Metrics;

/// Proves that the worker may write: part of every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The coordinator's reign.
    pub(crate) term: u64,
    /// This session.
    pub(crate) worker: i64,
}

/// Who this worker is. The same from one registration to the next.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Its name, kept over restarts.
    pub(crate) name: String,
    /// Unique per process start.
    pub(crate) incarnation: String,
    /// The machine.
    pub(crate) host: String,
    /// The devices, one lane each.
    pub(crate) lanes: Vec<v1::Lane>,
}

/// The session's state, shared by all parts of the worker.
#[derive(Debug)]
pub(crate) struct Session {
    fleet: Fleet,
    identity: Identity,
    held: Arc<Held>,
    drain: Arc<Drain>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    seed: u64,
    state: watch::Sender<State>,
    nudge: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    ticket: Option<Ticket>,
    trusted_until: Duration,
    ttl: Duration,
    heartbeat: Duration,
}

impl Session {
    /// A session that is not open yet. `seed` spreads this worker's tries apart from others'.
    pub(crate) fn new(
        fleet: Fleet,
        identity: Identity,
        held: Arc<Held>,
        drain: Arc<Drain>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        seed: u64,
    ) -> Self {
        let (state, nudge) = (watch::channel(State::default()).0, Notify::new());
        Self { fleet, identity, held, drain, clock, metrics, seed, state, nudge }
    }

    /// Opens or opens again the session with all that is held. Attempts that others have taken over are dropped.
    pub(crate) async fn register(&self) -> Result<v1::RegisterReply, CallError> {
        let Identity { name, incarnation, host, lanes } = self.identity.clone();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let request = v1::RegisterRequest {
            name,
            incarnation,
            host,
            version,
            lanes,
            held: self.held.tasks(),
            draining: self.drain.plan().is_some(),
        };
        let sent = self.clock.monotonic();
        let reply = self.fleet.register(request).await?;
        for fenced in &reply.fenced {
            self.held.drop_task(task(*fenced));
        }
        let ttl = Duration::from_millis(reply.lease_ttl_ms);
        let state = State {
            ticket: Some(Ticket { term: reply.term, worker: reply.worker }),
            trusted_until: trusted_until(sent, ttl),
            ttl,
            heartbeat: Duration::from_millis(reply.heartbeat_ms.max(1)),
        };
        self.state.send_replace(state);
        self.note_trust(state.trusted_until);
        tracing::info!(
            worker = reply.worker,
            term = reply.term,
            kept = reply.keep.len(),
            fenced = reply.fenced.len(),
            "registered"
        );
        Ok(reply)
    }

    /// Waits until the session is open and its lease trusted.
    pub(crate) async fn ticket(&self) -> Ticket {
        let mut changes = self.state.subscribe();
        loop {
            let State { ticket, trusted_until, .. } = *changes.borrow_and_update();
            match ticket {
                Some(ticket) if self.clock.monotonic() < trusted_until => return ticket,
                _ => {}
            }
            // The sender lives in self, so that this waits for a change.
            drop(changes.changed().await);
        }
    }

    /// Notes that the coordinator does not know the session any more.
    pub(crate) fn lost(&self, ticket: Ticket) {
        let was = self.state.send_if_modified(|state| state.ticket.take_if(|own| *own == ticket).is_some());
        if was {
            self.nudge.notify_one();
        }
    }

    /// Keeps the session alive, through outages of the coordinator of up to `orphan_grace`. Returns only when this worker must end,
    /// with the reason.
    pub(crate) async fn keep(&self, orphan_grace: Duration) -> Error {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1), self.seed);
        let mut drain = self.drain.watch();
        let mut contact = self.clock.monotonic();
        let mut is_away = false;
        loop {
            let state = *self.state.borrow();
            let renewed = self.renew(&state).await;
            if !matches!(renewed, Err(CallError::Unreachable(_))) {
                contact = self.clock.monotonic();
                if std::mem::take(&mut is_away) {
                    tracing::info!("the coordinator is back");
                }
            }
            let pause = match renewed {
                Ok(()) => {
                    backoff.reset();
                    self.state.borrow().heartbeat
                }
                Err(
                    error @ (CallError::Refused(Reason::Superseded | Reason::Version, _)
                    | CallError::Rejected(_)),
                ) => {
                    return error.into();
                }
                Err(CallError::Refused(..)) => {
                    if let Some(ticket) = state.ticket {
                        self.lost(ticket);
                    }
                    backoff.delay()
                }
                Err(cause @ CallError::Unreachable(_)) => {
                    let away = self.clock.monotonic().saturating_sub(contact);
                    if away >= orphan_grace {
                        return Error::Orphaned { away, cause };
                    }
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!(error = %cause, "computing goes on, commits wait");
                    }
                    backoff.delay().min(state.heartbeat)
                }
            };
            tokio::select! {
                biased;
                () = self.nudge.notified() => {}
                // The coordinator learns at once that the worker drains. The sender lives in self, so that this waits for a change.
                _ = drain.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    fn note_trust(&self, trusted_until: Duration) {
        self.metrics.trust.set(trusted_until.saturating_sub(self.clock.monotonic()));
    }

    /// One heartbeat, or a registration where there is no session.
    async fn renew(&self, state: &State) -> Result<(), CallError> {
        let Some(Ticket { term, worker }) = state.ticket else {
            return self.register().await.map(drop);
        };
        let sent = self.clock.monotonic();
        let gaps = self.metrics.gaps.take_untold();
        let beat = v1::HeartbeatRequest {
            term,
            worker,
            held: self.held.report(),
            draining: self.drain.plan().is_some(),
            idle_gaps_us: gaps.iter().map(|gap| gap.as_micros() as u64).collect(),
        };
        let reply = match self.fleet.heartbeat(beat).await {
            Ok(reply) => reply,
            Err(error) => {
                self.metrics.gaps.give_back(gaps);
                return Err(error);
            }
        };
        self.state.send_modify(|now| {
            if now.ticket == state.ticket {
                now.trusted_until = trusted_until(sent, now.ttl);
                self.note_trust(now.trusted_until);
            }
        });
        self.drain.wish(reply.drain.then(|| Duration::from_millis(reply.drain_grace_ms)));
        for directive in reply.directives {
            match (directive.kind(), directive.task) {
                (v1::directive::Kind::Stop, Some(stopped)) => self.held.drop_task(task(stopped)),
                (v1::directive::Kind::Stop, None) | (v1::directive::Kind::Unspecified, _) => {
                    tracing::warn!(?directive, "a directive that this worker does not know");
                }
            }
        }
        Ok(())
    }
}

/// When a lease that was asked for at `sent` is no longer trusted: a sixth of it (5 s of 30 s) stays for clocks that differ.
fn trusted_until(sent: Duration, ttl: Duration) -> Duration {
    sent + ttl - ttl / 6
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proto_kit::client::Client;
    use proto_kit::clock::ManualClock;

    use super::*;

    const TICKET: Ticket = Ticket { term: 1, worker: 2 };

    fn session(clock: &ManualClock) -> Session {
        let identity =
            Identity { name: String::new(), incarnation: String::new(), host: String::new(), lanes: vec![] };
        Session::new(
            Fleet::connect("http://127.0.0.1:1", Client::default()).unwrap(),
            identity,
            Arc::new(Held::new(Arc::default())),
            Arc::default(),
            Arc::new(clock.clone()),
            Arc::default(),
            0,
        )
    }

    #[tokio::test]
    async fn a_lease_is_trusted_until_five_sixths_after_its_request_was_sent() {
        let clock = ManualClock::default();
        let session = session(&clock);
        assert!(session.ticket().now_or_never().is_none(), "not registered");
        let ttl = Duration::from_secs(30);
        let until = trusted_until(clock.monotonic(), ttl);
        session.state.send_replace(State { ticket: Some(TICKET), trusted_until: until, ttl, heartbeat: ttl });
        clock.advance(Duration::from_millis(24_999));
        assert_eq!(session.ticket().now_or_never(), Some(TICKET));
        clock.advance(Duration::from_millis(1));
        assert!(session.ticket().now_or_never().is_none(), "no longer trusted");
    }

    #[tokio::test]
    async fn a_lost_session_gives_no_ticket_and_an_old_ticket_loses_nothing() {
        let session = session(&ManualClock::default());
        let ttl = Duration::from_secs(30);
        session.state.send_replace(State { ticket: Some(TICKET), trusted_until: ttl, ttl, heartbeat: ttl });
        session.lost(Ticket { term: 0, ..TICKET });
        assert_eq!(session.ticket().now_or_never(), Some(TICKET));
        session.lost(TICKET);
        assert!(session.ticket().now_or_never().is_none());
    }
}
