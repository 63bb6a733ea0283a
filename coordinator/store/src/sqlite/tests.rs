//! What only SQLite can get wrong: statements that do not prepare, a state machine that differs from the contract's.

use proto::state::JobState;
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr, query};

use super::*;

async fn open(dir: &tempfile::TempDir) -> SqliteStore {
    SqliteStore::open(&dir.path().join("jobs.db"), Policy::default()).await.unwrap()
}

#[tokio::test]
async fn every_statement_prepares_and_states_its_guard() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let mut connection = store.writer.acquire().await.unwrap();
    for (file, sql) in queries::ALL {
        let first = sql.lines().next().unwrap_or_default();
        assert!(first.starts_with("-- guard: ") || first.starts_with("-- reads: "), "{file}: {first}");
        let reads = first.starts_with("-- reads: ");
        let statement = sql.lines().nth(1).unwrap_or_default();
        assert_eq!(reads, statement.starts_with("select"), "{file}: {statement}");
        (&mut *connection).prepare(sql.into_sql_str()).await.unwrap_or_else(|e| panic!("{file}: {e}"));
    }
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/sqlite/queries")).unwrap();
    assert_eq!(files.count(), queries::ALL.len(), "a statement is not listed");
}

/// Each move of a job is allowed by the database exactly when the contract allows it.
#[tokio::test]
async fn the_database_knows_the_state_machine() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let mut tx = store.writer.begin().await.unwrap();
    query("insert into workers values (1, 'w', 'i', 'h', 'v', '[]', 'live', 0, 0, 1)")
        .execute(&mut *tx)
        .await
        .unwrap();
    for from in JobState::ALL {
        for to in JobState::ALL.iter().filter(|to| *to != from) {
            let columns = |state: &JobState| {
                let finished = if state.is_terminal() { "1" } else { "null" };
                let worker = if state.is_held() { "1" } else { "null" };
                (finished, worker)
            };
            let (finished, worker) = columns(from);
            let insert = format!(
                "insert or replace into jobs (id, key, kind, label, spec, tokens, priority, state, tries_left,
                 pending_deps, worker, created_at, changed_at, finished_at, term)
                 values (1, 'k', 'k', 'l', '', 0, 0, '{from}', 1, 0, {worker}, 0, 0, {finished}, 1)"
            );
            query(AssertSqlSafe(insert)).execute(&mut *tx).await.unwrap();
            let (finished, worker) = columns(to);
            let update =
                format!("update jobs set state = '{to}', worker = {worker}, finished_at = {finished}");
            let moved = query(AssertSqlSafe(update)).execute(&mut *tx).await;
            assert_eq!(moved.is_ok(), from.may_become(*to), "{from} to {to}: {moved:?}");
        }
    }
}

/// The migration can be undone, and nothing is left.
#[tokio::test]
async fn the_schema_goes_down_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    MIGRATIONS.undo(&store.writer, 0).await.unwrap();
    let left =
        query("select name from sqlite_schema where name not like 'sqlite_%' and name not like '_sqlx_%'");
    assert_eq!(left.fetch_all(&store.writer).await.unwrap().len(), 0);
}
