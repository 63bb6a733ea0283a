//! A table in Postgres, for several coordinators of which one leads. The leader's row holds term, holder and expiry by the database's
//! clock; whoever finds it expired takes over by adding one to the term. Every write locks the row for as long as it lasts and names its
//! term, so that no write of an older term can end after a newer one has begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use coordinator_core::policy::Policy;
use proto::id::Term;
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgListener;
use sqlx::{AnyConnection, Connection, Executor, Row, query};

use super::queries::{COMMON, Queries};
use super::{Observer, READERS, Reign, SqlStore};
use crate::error::{Result, StoreError};
use crate::lead::{Lead, Leader};
use crate::store::Store;

/// The schema, embedded at build time.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// The statements as Postgres runs them.
pub(super) static POSTGRES: Queries = Queries {
    claim: include_str!("postgres/claim.sql"),
    checkpoints_drop: include_str!("postgres/checkpoints_drop.sql"),
    ..COMMON
};

/// Connections that write. One, so that the journal has one order, as the leader has one mind; calls that come together share it.
const WRITERS: u32 = 1;

/// Settings of each connection. Every statement starts from a short list or an index and finds its rows by index, in the order in which it
/// names the tables. Left to itself the planner reads whole tables where it has no statistics yet, and keeps doing so: plans are made once
/// in a connection. A migration that finds its table need not say so.
const SETTINGS: &str = "set client_min_messages = warning; set jit = off; set join_collapse_limit = 1; set random_page_cost = 0;
    set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashjoin = off; set enable_mergejoin = off";

/// Where a leader tells that he steps down.
const CHANNEL: &str = "quiver_leader";

/// A coordinator's claim to the leader's row.
#[derive(Debug)]
pub struct Leadership {
    writers: AnyPool,
    /// For reads, and for the leader's row: no write delays a renewal longer than it lasts.
    readers: AnyPool,
    url: String,
    /// Unique per process start.
    holder: String,
    /// Where workers and operators reach this coordinator.
    address: String,
    ttl: Duration,
    /// The term that this coordinator holds, or last held; 0 before the first.
    term: AtomicU64,
}

impl Leadership {
    /// Opens a table, not yet to lead. The schema is made only where there is none: later it is the leader's to change.
    ///
    /// # Errors
    /// When the database cannot be reached or its schema is newer than this build.
    pub async fn open(url: &str, holder: String, address: String, ttl: Duration) -> Result<Arc<Self>> {
        sqlx::any::install_default_drivers();
        // A pool hides why it cannot connect: the first connection tells.
        AnyConnection::connect(url).await?.close().await?;
        let readers = pool(url, READERS).await?;
        let found = query(include_str!("postgres/leader_exists.sql")).fetch_one(&readers).await?;
        if found.try_get::<i64, _>("n")? == 0 {
            MIGRATIONS.run(&readers).await?;
        }
        let writers = pool(url, WRITERS).await?;
        Ok(Arc::new(Self {
            writers,
            readers,
            url: url.to_owned(),
            holder,
            address,
            ttl,
            term: AtomicU64::new(0),
        }))
    }

    /// The table, for the time that this coordinator leads.
    pub fn store(self: &Arc<Self>, policy: Policy) -> SqlStore {
        SqlStore {
            writers: self.writers.clone(),
            readers: self.readers.clone(),
            policy,
            sql: &POSTGRES,
            reign: Reign::Row(Arc::clone(self)),
            observer: None,
        }
    }

    /// The term that reigns, 0 if it is another's, held for the rest of a transaction.
    pub(super) async fn confirm(&self, db: &mut AnyConnection) -> Result<Term> {
        let row =
            query(include_str!("postgres/leader_holds.sql")).bind(&self.holder).fetch_optional(db).await?;
        row.as_ref().map_or(Ok(Term(0)), term_of)
    }
}

#[async_trait]
impl Lead for Arc<Leadership> {
    fn term(&self) -> Term {
        Term(self.term.load(Ordering::Acquire))
    }

    async fn try_lead(&self) -> Result<Option<Term>> {
        let row = query(include_str!("postgres/leader_take.sql"))
            .bind(&self.holder)
            .bind(&self.address)
            .bind(micros(self.ttl))
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let term = term_of(&row)?;
        MIGRATIONS.run(&self.readers).await?;
        self.term.store(term.0, Ordering::Release);
        Ok(Some(term))
    }

    async fn renew(&self) -> Result<bool> {
        let done = query(include_str!("postgres/leader_renew.sql"))
            .bind(&self.holder)
            .bind(int(self.term()))
            .bind(micros(self.ttl))
            .execute(&self.readers)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn step_down(&self) -> Result<()> {
        query(include_str!("postgres/leader_leave.sql"))
            .bind(&self.holder)
            .bind(int(self.term()))
            .bind(CHANNEL)
            .execute(&self.readers)
            .await?;
        Ok(())
    }

    async fn leader(&self) -> Result<Leader> {
        let row = query(include_str!("postgres/leader_current.sql")).fetch_one(&self.readers).await?;
        let left = u64::try_from(row.try_get::<i64, _>("remaining")?).unwrap_or(0);
        Ok(Leader {
            term: term_of(&row)?,
            address: row.try_get("address")?,
            remaining: Duration::from_micros(left),
        })
    }

    async fn changed(&self) -> Result<()> {
        let mut listener = PgListener::connect(&self.url).await?;
        listener.listen(CHANNEL).await?;
        listener.recv().await?;
        Ok(())
    }

    fn table(&self, policy: Policy, observer: Arc<dyn Observer>) -> Arc<dyn Store> {
        Arc::new(self.store(policy).observed(observer))
    }
}

async fn pool(url: &str, connections: u32) -> Result<AnyPool> {
    let options = AnyPoolOptions::new()
        .max_connections(connections)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SETTINGS).await.map(drop) }));
    Ok(options.connect(url).await?)
}

fn term_of(row: &sqlx::any::AnyRow) -> Result<Term> {
    u64::try_from(row.try_get::<i64, _>("term")?).map(Term).map_err(StoreError::corrupt)
}

fn int(term: Term) -> i64 {
    super::row::int(term.0)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
