//! Logs of attempts, in parts that are written one after another and never again. Nothing refers to them: they go by their age.

use bytes::Bytes;
use proto::id::{Attempt, JobKey};

use crate::{ArtifactError, Artifacts, Result};

fn object(key: JobKey, attempt: Attempt, part: u32) -> String {
    format!("logs/{key}/{attempt}/{part}")
}

impl Artifacts {
    /// Stores a part of an attempt's log; parts count from 0. What is there already stays.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_log(&self, key: JobKey, attempt: Attempt, part: u32, text: Bytes) -> Result<()> {
        let object = object(key, attempt, part);
        self.again(&object, || self.put_or_get(&object, text.clone())).await.map(drop)
    }

    /// A part of an attempt's log, if it has been written.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn log(&self, key: JobKey, attempt: Attempt, part: u32) -> Result<Option<Bytes>> {
        match self.get(&object(key, attempt, part)).await {
            Ok(text) => Ok(Some(text)),
            Err(ArtifactError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
