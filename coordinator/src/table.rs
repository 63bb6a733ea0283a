//! The job table from its settings: a file that one process owns, or a database that several share.

use std::net::SocketAddr;
use std::sync::Arc;

use coordinator_store::{Lead, Leadership, SqlStore, Store, StoreError};
use uuid::Uuid;

use crate::config::{Database, Settings, SettingsError};

/// An opened table.
pub(crate) enum Table {
    /// In a file that this process owns.
    File(SqlStore),
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
            Database::File(path) => Self::File(SqlStore::sqlite(&path, settings.policy()).await?),
            Database::Postgres(url) => {
                let (holder, address) = (Uuid::now_v7().to_string(), settings.address(listening));
                Self::Cluster(Leadership::open(&url, holder, address, settings.leader_ttl).await?)
            }
        })
    }
}

/// A table in this process's own hands, for as long as one command takes.
pub struct OwnTable {
    store: Arc<dyn Store>,
    kind: Kind,
}

enum Kind {
    File(Arc<SqlStore>),
    Cluster(Arc<Leadership>),
}

impl OwnTable {
    /// Opens the table of the settings. No coordinator may run on it meanwhile.
    ///
    /// # Errors
    /// When one does, or the table cannot be reached.
    pub async fn take(settings: &Settings) -> Result<Self, TableError> {
        Ok(match Table::open(settings, settings.listen).await? {
            Table::File(store) => {
                let store = Arc::new(store);
                Self { store: Arc::clone(&store) as _, kind: Kind::File(store) }
            }
            Table::Cluster(leadership) => {
                if leadership.try_lead().await?.is_none() {
                    return Err(TableError::Led(leadership.leader().await?.address));
                }
                Self { store: Arc::new(leadership.store(settings.policy())), kind: Kind::Cluster(leadership) }
            }
        })
    }

    /// The table.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Gives the table back.
    ///
    /// # Errors
    /// When the database fails; a coordinator then waits for the end of this reign.
    pub async fn give_back(self) -> Result<(), TableError> {
        let Self { store, kind } = self;
        drop(store);
        match kind {
            Kind::File(store) => {
                if let Some(store) = Arc::into_inner(store) {
                    store.close().await;
                }
                Ok(())
            }
            Kind::Cluster(leadership) => Ok(leadership.step_down().await?),
        }
    }
}
