//! A table in a SQLite file, owned by one process: a file lock, write-ahead log with full sync, one writer connection whose transactions
//! begin at once, readers beside it. High availability needs Postgres.

use std::path::Path;

use coordinator_core::policy::Policy;
use sqlx::any::AnyPoolOptions;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, ConnectOptions, Connection, Executor};

use super::lock::FileLock;
use super::queries::COMMON;
use super::{READERS, Reign, SqlStore};
use crate::error::{Result, StoreError};

/// The schema, embedded at build time.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// Settings of each connection that SQLite does not keep in the file.
const SETTINGS: &str = "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma busy_timeout = 5000;";

impl SqlStore {
    /// Opens or creates the table in a file and takes its lock.
    ///
    /// # Errors
    /// When another process has the file, with its id; when the file cannot be used or is no database.
    pub async fn sqlite(path: &Path, policy: Policy) -> Result<Self> {
        sqlx::any::install_default_drivers();
        if let Some(folder) = path.parent() {
            let failed = |source| StoreError::File { path: folder.to_owned(), source };
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = FileLock::take(path)?;
        let file = SqliteConnectOptions::new().filename(path);
        let url = file.clone().create_if_missing(true).to_url_lossy();
        // A pool hides why it cannot connect: the first connection tells.
        let mut first = AnyConnection::connect(url.as_str()).await?;
        first.execute(SETTINGS).await?;
        first.close().await?;
        let writers = AnyPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SETTINGS).await.map(drop) })
            })
            .connect(url.as_str())
            .await?;
        MIGRATIONS.run(&writers).await?;
        let readers = AnyPoolOptions::new()
            .max_connections(READERS)
            .connect(file.read_only(true).to_url_lossy().as_str())
            .await?;
        Ok(Self {
            writers,
            readers,
            policy,
            sql: &COMMON,
            reign: Reign::File { _lock: lock },
            observer: None,
        })
    }
}
