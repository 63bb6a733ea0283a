//! Who leads over a table that several coordinators share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coordinator_core::policy::Policy;
use proto::id::Term;

use crate::error::Result;
use crate::sql::Observer;
use crate::store::Store;

/// Who leads, as the table shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The term.
    pub term: Term,
    /// Where he is reached; empty when nobody leads.
    pub address: String,
    /// How long he leads without renewing.
    pub remaining: Duration,
}

/// One coordinator's claim to lead. Errors are the database's: whether a call that failed has had its effect is then unknown.
#[async_trait]
pub trait Lead: Send + Sync {
    /// The term that this coordinator holds, or last held; 0 before the first.
    fn term(&self) -> Term;

    /// Takes over if nobody leads, and brings the schema up to date. Returns the new term.
    async fn try_lead(&self) -> Result<Option<Term>>;

    /// Leads on. False when somebody else has taken over.
    async fn renew(&self) -> Result<bool>;

    /// Gives the lead up, so that another need not wait for the end of the time.
    async fn step_down(&self) -> Result<()>;

    /// Who leads.
    async fn leader(&self) -> Result<Leader>;

    /// Returns when the leader may have stepped down: a hint that spares the wait, no more.
    async fn changed(&self) -> Result<()>;

    /// The table, for the time that this coordinator leads. `observer` hears how long calls took.
    fn table(&self, policy: Policy, observer: Arc<dyn Observer>) -> Arc<dyn Store>;
}
