//! Leases: when a silent session expires, what a returning worker may keep, and which commit counts.

use proto::id::Attempt;
use proto::state::{JobState, Outcome};

use crate::policy::Policy;
use crate::time::Micros;

/// Whether a session's lease has run out. While the coordinator was away nobody could renew, so for one full TTL after it began to serve
/// nothing expires.
pub fn has_expired(lease_expires_at: Micros, serving_since: Micros, policy: &Policy, now: Micros) -> bool {
    now >= serving_since.after(policy.lease_ttl) && now >= lease_expires_at
}

/// Whether an offer that its worker does not hold has been lost on the way.
pub fn is_lost_offer(offered_at: Micros, policy: &Policy, now: Micros) -> bool {
    now >= offered_at.after(policy.ack_timeout)
}

/// Attempts whose last progress is not later than this have stalled; none while nobody could have reported any, because the coordinator
/// has not served for long enough.
pub fn stalled_before(serving_since: Micros, policy: &Policy, now: Micros) -> Option<Micros> {
    (now >= serving_since.after(policy.stall_after)).then(|| now.before(policy.stall_after))
}

/// What the table knows about an attempt that a worker names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptFacts {
    /// The job's newest attempt.
    pub newest: Attempt,
    /// Where the job stands.
    pub state: JobState,
    /// Whether the attempt was given to the worker session that names it.
    pub own: bool,
    /// How the attempt ended, if it has.
    pub outcome: Option<Outcome>,
}

/// What a returning worker does with an attempt that it still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reattach {
    /// Go on: the table still counts on it.
    Keep,
    /// Go on under the same number: it had expired, but nobody has taken the job since.
    Revive,
    /// Kill it.
    Fenced,
}

/// Decides about one attempt that a returning worker holds.
pub fn on_reattach(attempt: Attempt, facts: &AttemptFacts) -> Reattach {
    if !facts.own || facts.newest != attempt {
        return Reattach::Fenced;
    }
    match (facts.state, facts.outcome) {
        (JobState::Leased | JobState::Running, None) => Reattach::Keep,
        (JobState::Ready, Some(Outcome::Expired)) => Reattach::Revive,
        _ => Reattach::Fenced,
    }
}

/// Whether an attempt may still change its job: commit, checkpoint, fail.
pub fn may_write(attempt: Attempt, facts: &AttemptFacts) -> bool {
    facts.own && facts.newest == attempt && facts.state.is_held() && facts.outcome.is_none()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn facts(state: JobState, outcome: Option<Outcome>) -> AttemptFacts {
        AttemptFacts { newest: Attempt(2), state, own: true, outcome }
    }

    #[test]
    fn nothing_expires_before_one_ttl_of_serving() {
        let policy = Policy { lease_ttl: Duration::from_micros(30), ..Policy::default() };
        let expired = |lease, since, now| has_expired(Micros(lease), Micros(since), &policy, Micros(now));
        assert!(!expired(0, 100, 129));
        assert!(expired(0, 100, 130));
        assert!(!expired(140, 100, 139));
        assert!(expired(140, 100, 140));
    }

    #[test]
    fn an_attempt_stalls_only_while_somebody_looks() {
        let policy = Policy { stall_after: Duration::from_micros(50), ..Policy::default() };
        let before = |since, now| stalled_before(Micros(since), &policy, Micros(now));
        assert_eq!(before(0, 60), Some(Micros(10)));
        assert_eq!(before(100, 149), None);
        assert_eq!(before(100, 150), Some(Micros(100)));
    }

    #[test]
    fn an_expired_attempt_that_nobody_replaced_is_revived() {
        assert_eq!(
            on_reattach(Attempt(2), &facts(JobState::Ready, Some(Outcome::Expired))),
            Reattach::Revive
        );
        assert_eq!(
            on_reattach(Attempt(1), &facts(JobState::Ready, Some(Outcome::Expired))),
            Reattach::Fenced
        );
        assert_eq!(on_reattach(Attempt(2), &facts(JobState::Running, None)), Reattach::Keep);
        assert_eq!(
            on_reattach(Attempt(2), &facts(JobState::Cancelled, Some(Outcome::Cancelled))),
            Reattach::Fenced
        );
        assert_eq!(
            on_reattach(Attempt(2), &facts(JobState::Ready, Some(Outcome::Released))),
            Reattach::Fenced
        );
    }

    #[test]
    fn only_the_newest_living_attempt_of_its_own_session_writes() {
        for state in JobState::ALL.iter().copied() {
            assert_eq!(may_write(Attempt(2), &facts(state, None)), state.is_held());
            assert!(!may_write(Attempt(1), &facts(state, None)));
            assert!(!may_write(Attempt(2), &AttemptFacts { own: false, ..facts(state, None) }));
            assert!(!may_write(Attempt(2), &facts(state, Some(Outcome::Expired))));
        }
    }
}
