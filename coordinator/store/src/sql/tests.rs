//! What only a statement's file can get wrong.

use sqlx::{AnyConnection, Connection, Executor, SqlSafeStr};

use super::*;
use crate::sql::queries::COMMON;

#[tokio::test]
async fn every_statement_prepares_and_states_its_guard() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqlStore::sqlite(&dir.path().join("jobs.db"), Policy::default()).await.unwrap();
    let mut connection = store.writers.acquire().await.unwrap();
    for (file, sql) in COMMON.all() {
        states_its_guard(file, sql);
        (&mut *connection).prepare(sql.into_sql_str()).await.unwrap_or_else(|e| panic!("{file}: {e}"));
    }
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/sql/queries")).unwrap();
    assert_eq!(files.count(), COMMON.all().len(), "a statement is not listed");
}

#[tokio::test]
async fn every_statement_prepares_in_postgres() {
    let Some(url) = ::tests::database() else { return };
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    postgres::MIGRATIONS.run(&mut connection).await.unwrap();
    for (file, sql) in postgres::POSTGRES.all() {
        states_its_guard(file, sql);
        (&mut connection).prepare(sql.into_sql_str()).await.unwrap_or_else(|e| panic!("{file}: {e}"));
    }
}

fn states_its_guard(file: &str, sql: &str) {
    let first = sql.lines().next().unwrap_or_default();
    assert!(first.starts_with("-- guard: ") || first.starts_with("-- reads: "), "{file}: {first}");
    let reads = first.starts_with("-- reads: ");
    let statement = sql.lines().nth(1).unwrap_or_default();
    assert_eq!(reads, statement.starts_with("select"), "{file}: {statement}");
}
