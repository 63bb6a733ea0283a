//! From columns to the types of the model, and back.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use coordinator_core::sweep::Progress;
use coordinator_core::time::Micros;
use proto::id::{Attempt, JobId};
use proto::pipe::Task;
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{Any, Decode, Row, Type};

use crate::error::{Result, StoreError};
use crate::model::Artifact;

/// A column as the database holds it.
pub(super) fn get<'r, T: Decode<'r, Any> + Type<Any>>(row: &'r AnyRow, name: &str) -> Result<T> {
    Ok(row.try_get(name)?)
}

/// A column whose text has a meaning.
pub(super) fn parse<T: FromStr<Err: Display>>(row: &AnyRow, name: &str) -> Result<T> {
    get::<&str>(row, name)?.parse().map_err(|e| StoreError::Corrupt(format!("{name}: {e}")))
}

/// [`parse`] of a column that may be null.
pub(super) fn parse_option<T: FromStr<Err: Display>>(row: &AnyRow, name: &str) -> Result<Option<T>> {
    let text = get::<Option<&str>>(row, name)?;
    text.map(|t| t.parse().map_err(|e| StoreError::Corrupt(format!("{name}: {e}")))).transpose()
}

/// A count.
pub(super) fn count(row: &AnyRow, name: &str) -> Result<u64> {
    u64::try_from(get::<i64>(row, name)?).map_err(StoreError::corrupt)
}

/// A small count.
pub(super) fn small(row: &AnyRow, name: &str) -> Result<u32> {
    u32::try_from(get::<i64>(row, name)?).map_err(StoreError::corrupt)
}

/// A small count that may be null.
pub(super) fn small_option(row: &AnyRow, name: &str) -> Result<Option<u32>> {
    get::<Option<i64>>(row, name)?.map(|n| u32::try_from(n).map_err(StoreError::corrupt)).transpose()
}

/// A time.
pub(super) fn time(row: &AnyRow, name: &str) -> Result<Micros> {
    get(row, name).map(Micros)
}

/// A time that may be null.
pub(super) fn time_option(row: &AnyRow, name: &str) -> Result<Option<Micros>> {
    Ok(get::<Option<i64>>(row, name)?.map(Micros))
}

/// The columns `id` and `attempt`.
pub(super) fn task(row: &AnyRow) -> Result<Task> {
    Ok(Task { job: JobId(get(row, "id")?), attempt: Attempt(small(row, "attempt")?) })
}

/// The columns `path` and `digest`.
pub(super) fn artifact(row: &AnyRow) -> Result<Artifact> {
    Ok(Artifact { path: get(row, "path")?, digest: parse(row, "digest")? })
}

/// The columns `step`, `total`, `tokens` and `loss`, null where no attempt is.
pub(super) fn progress(row: &AnyRow) -> Result<Progress> {
    let number = |name| -> Result<u64> {
        u64::try_from(get::<Option<i64>>(row, name)?.unwrap_or(0)).map_err(StoreError::corrupt)
    };
    Ok(Progress {
        step: number("step")?,
        total: number("total")?,
        tokens: number("tokens")?,
        loss: get(row, "loss")?,
    })
}

/// A count for a column; SQLite's integers end at 2⁶³ − 1.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A list for `json_each`.
pub(super) fn json<T: Serialize + ?Sized>(list: &T) -> Result<String> {
    serde_json::to_string(list).map_err(StoreError::corrupt)
}

/// Texts for `json_each`, each under a name: databases differ in how they take a bare text out of a list.
pub(super) fn named<T: Serialize>(name: &str, texts: impl IntoIterator<Item = T>) -> Result<String> {
    json(&texts.into_iter().map(|text| BTreeMap::from([(name, text)])).collect::<Vec<_>>())
}
