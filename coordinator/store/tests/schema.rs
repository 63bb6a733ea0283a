//! The schemas of both databases: they know the state machine, and go down again.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::*;
use coordinator_store::SqlStore;
use proto::state::JobState;
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row, query};

static SQLITE: Migrator = sqlx::migrate!("../../migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");

/// A connection to a new table of each database.
async fn databases() -> Vec<(&'static Migrator, AnyConnection, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    SqlStore::sqlite(&file, policy()).await.unwrap().close().await;
    let sqlite = AnyConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let mut found = vec![(&SQLITE, sqlite, folder)];
    if let Some(url) = tests::database() {
        lead(&url, "a").await;
        let postgres = AnyConnection::connect(&url).await.unwrap();
        found.push((&POSTGRES, postgres, tempfile::tempdir().unwrap()));
    }
    found
}

/// Each move of a job is allowed by the database exactly when the contract allows it.
#[tokio::test]
async fn the_databases_know_the_state_machine() {
    for (_, mut connection, _folder) in databases().await {
        let worker = "insert into workers (name, incarnation, host, version, lanes, state, lease_expires_at, seen_at, term)
            values ('w', 'i', 'h', 'v', '[]', 'live', 0, 0, 1)";
        connection.execute(worker).await.unwrap();
        for from in JobState::ALL {
            for to in JobState::ALL.iter().filter(|to| *to != from) {
                let columns = |state: &JobState| {
                    let finished = if state.is_terminal() { "1" } else { "null" };
                    let worker = if state.is_held() { "1" } else { "null" };
                    (finished, worker)
                };
                let (finished, worker) = columns(from);
                let insert = format!(
                    "insert into jobs (key, kind, label, spec, tokens, priority, state, tries_left,
                     pending_deps, worker, created_at, changed_at, finished_at, term)
                     values ('k', 'k', 'l', '', 0, 0, '{from}', 1, 0, {worker}, 0, 0, {finished}, 1)"
                );
                connection.execute("delete from jobs").await.unwrap();
                query(AssertSqlSafe(insert)).execute(&mut connection).await.unwrap();
                let (finished, worker) = columns(to);
                let update =
                    format!("update jobs set state = '{to}', worker = {worker}, finished_at = {finished}");
                let moved = query(AssertSqlSafe(update)).execute(&mut connection).await;
                assert_eq!(moved.is_ok(), from.may_become(*to), "{from} to {to}: {moved:?}");
            }
        }
    }
}

/// The migrations can be undone, and nothing is left.
#[tokio::test]
async fn the_schemas_go_down_again() {
    for (migrator, mut connection, _folder) in databases().await {
        migrator.undo(&mut connection, 0).await.unwrap();
        let left = match connection.backend_name() {
            "SQLite" => {
                "select count(*) as n from sqlite_schema where name not like 'sqlite_%' and name not like '_sqlx_%'"
            }
            _ => {
                "select count(*) as n from pg_class c join pg_namespace s on s.oid = c.relnamespace
                  where s.nspname = 'public' and c.relname not like '_sqlx_%'"
            }
        };
        let left: i64 = connection.fetch_one(left).await.unwrap().get("n");
        assert_eq!(left, 0);
    }
}

/// Both databases have the same migrations under the same numbers.
#[test]
fn migrations_are_numbered_alike() {
    let names = |migrator: &Migrator| {
        migrator.iter().map(|m| (m.version, m.description.to_string(), m.migration_type)).collect::<Vec<_>>()
    };
    assert_eq!(format!("{:?}", names(&SQLITE)), format!("{:?}", names(&POSTGRES)));
}
