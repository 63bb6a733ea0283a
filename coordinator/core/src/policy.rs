//! The settings that decisions depend on.

use std::time::Duration;

/// Deadlines and budgets. The defaults are those of `orchestration` §5, but for the lease: two seconds less, so that a death is seen
/// and its jobs are handed out again within the 30 seconds that operators are promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a session lives after its last heartbeat.
    pub lease_ttl: Duration,
    /// How often a worker is asked to send a heartbeat.
    pub heartbeat: Duration,
    /// How long an offer may stay out of its worker's heartbeats before it counts as lost.
    pub ack_timeout: Duration,
    /// Tries of a job before it fails for good. Only failures of its own count.
    pub tries: u32,
    /// The wait after a job's first failure; it doubles with each further one.
    pub backoff: Duration,
    /// The longest such wait.
    pub backoff_cap: Duration,
    /// How often the passes of a job are halved after memory ran out, at no cost to its tries.
    pub max_halvings: u32,
    /// How long a running attempt may show no progress.
    pub stall_after: Duration,
    /// A worker gets no more jobs once this many failed on it and then succeeded on another machine.
    pub blame_limit: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(28),
            heartbeat: Duration::from_secs(5),
            ack_timeout: Duration::from_secs(12),
            tries: 3,
            backoff: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(60),
            max_halvings: 6,
            stall_after: Duration::from_secs(30 * 60),
            blame_limit: 3,
        }
    }
}
