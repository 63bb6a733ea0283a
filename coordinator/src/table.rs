//! The job table from its settings: a file that one process owns, or a database that several share.

use std::net::SocketAddr;
use std::sync::Arc;

use coordinator_store::{Leadership, SqlStore, Store, StoreError};
use uuid::Uuid;

use crate::config::{Database, Settings, SettingsError};

/// An opened table.
pub(crate) enum Table {
    /// In a file that this process owns.
    File(Arc<SqlStore>),
    /// In a database that it may have to share.
    Cluster(Arc<Leadership>),
}

/// Why a table cannot be used: one line.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its address makes no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another process decides about it.
    #[error("the coordinator at {0} leads on this database: name it by --coordinator instead")]
    Led(String),
}

impl Table {
    /// Opens the table of a coordinator that listens at an address.
    pub(crate) async fn open(settings: &Settings, listening: SocketAddr) -> Result<Self, TableError> {
        Ok(match settings.database()? {
            Database::File(path) => Self::File(Arc::new(SqlStore::sqlite(&path, settings.policy()).await?)),
            Database::Postgres(url) => {
                let (holder, address) = (Uuid::now_v7().to_string(), settings.address(listening));
                Self::Cluster(Leadership::open(&url, holder, address, settings.leader_ttl).await?)
            }
        })
    }
}

/// A table in this process's own hands, for as long as one command takes.
pub struct OwnTable(Table, Arc<dyn Store>);

impl OwnTable {
    /// Opens the table of the settings. No coordinator may run on it meanwhile.
    ///
    /// # Errors
    /// When one does, or the table cannot be reached.
    pub async fn take(settings: &Settings) -> Result<Self, TableError> {
        let table = Table::open(settings, settings.listen).await?;
        let store: Arc<dyn Store> = match &table {
            Table::File(store) => Arc::clone(store) as _,
            Table::Cluster(leadership) => {
                if leadership.try_lead().await?.is_none() {
                    return Err(TableError::Led(leadership.leader().await?.address));
                }
                Arc::new(leadership.store(settings.policy()))
            }
        };
        Ok(Self(table, store))
    }

    /// The table.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.1
    }

    /// Gives the table back.
    ///
    /// # Errors
    /// When the database fails; a coordinator then waits for the end of this reign.
    pub async fn give_back(self) -> Result<(), TableError> {
        let Self(table, store) = self;
        drop(store);
        match table {
            Table::File(store) => {
                if let Some(store) = Arc::into_inner(store) {
                    store.close().await;
                }
                Ok(())
            }
            Table::Cluster(leadership) => Ok(leadership.step_down().await?),
        }
    }
}
