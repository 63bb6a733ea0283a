//! Databases to measure over: each new, each gone at the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use coordinator_core::policy::Policy;
use coordinator_core::time::Micros;
use coordinator_store::model::Stamp;
use coordinator_store::{Lead, Leadership, SqlStore, Store};
use proto_kit::clock::{Clock, SystemClock};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;

/// The variable in which `tests/postgres` names its server.
const SERVER: &str = "QUIVER_TEST_POSTGRES";
/// How long the benchmark leads over a table in Postgres when it writes to it itself.
const REIGN: Duration = Duration::from_secs(600);

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// Its name in figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A database of its own, with a folder for what else a coordinator keeps.
pub(crate) struct Database {
    pub(crate) kind: Kind,
    folder: TempDir,
    url: Option<String>,
}

impl Database {
    /// Makes one, empty.
    pub(crate) async fn new(kind: Kind) -> Result<Self> {
        let url = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(empty_database().await?),
        };
        Ok(Self { kind, folder: TempDir::new()?, url })
    }

    /// What `coordinator serve --database` takes.
    pub(crate) fn address(&self) -> String {
        self.url.clone().unwrap_or_else(|| self.folder().join("table.sqlite").display().to_string())
    }

    /// A folder that lives as long.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Opens the table in this process.
    pub(crate) async fn open(&self) -> Result<Table> {
        let policy = Policy::default();
        let Some(url) = &self.url else {
            let store = SqlStore::sqlite(&self.folder().join("table.sqlite"), policy).await?;
            return Ok(Table { store, leadership: None });
        };
        let (holder, address) = ("bench".to_owned(), "http://bench".to_owned());
        let leadership = Leadership::open(url, holder, address, REIGN).await?;
        leadership.try_lead().await?.context("somebody else leads over the benchmark's table")?;
        Ok(Table { store: leadership.store(policy), leadership: Some(leadership) })
    }
}

/// A table that this process writes to.
pub(crate) struct Table {
    pub(crate) store: SqlStore,
    leadership: Option<Arc<Leadership>>,
}

impl Table {
    /// A write now.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { term: self.store.term(), now: Micros(SystemClock::default().now_micros()) }
    }

    /// Leaves it to others.
    pub(crate) async fn close(self) -> Result<()> {
        if let Some(leadership) = &self.leadership {
            leadership.step_down().await?;
        }
        self.store.close().await;
        Ok(())
    }
}

/// The URL of a new database of the server that `tests/postgres` runs.
pub(crate) async fn empty_database() -> Result<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let Ok(server) = std::env::var(SERVER) else {
        bail!("{SERVER} names no Postgres server; bench/control-plane/run starts one");
    };
    let name = format!("bench_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&server).await?;
    connection.execute(AssertSqlSafe(format!("create database {name}"))).await?;
    connection.close().await?;
    Ok(server.replacen("/postgres?", &format!("/{name}?"), 1))
}
