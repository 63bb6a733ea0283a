//! What the tests over the built binaries share: finding them, running them, a small dataset, and the reference data beside the checkout.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test that cannot start says so and fails")]

pub mod s3;
pub mod workspace;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The checkout's top folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A release binary of the workspace. `tests/run` builds them before it starts the tests.
///
/// # Panics
/// When it has not been built.
pub fn binary(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().expect("a test has a path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    assert!(path.is_file(), "{} is missing: `cargo build --release` makes it", path.display());
    path
}

/// The URL of a new database of the Postgres that `tests/postgres` started; it ends with the server. `None`, with a printed reason,
/// where there is none.
///
/// # Panics
/// When there is none where `CI` is `true`, or the database cannot be made.
pub fn database() -> Option<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let Ok(server) = std::env::var("QUIVER_TEST_POSTGRES") else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "QUIVER_TEST_POSTGRES must be set in CI");
        println!("skipped: no Postgres (tests/postgres starts one)");
        return None;
    };
    let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let create = format!("create database {name}");
    let made = Command::new("psql").args([&server, "-qc", &create]).status().expect("psql starts");
    assert!(made.success(), "the test server does not make databases");
    Some(server.replacen("/postgres?", &format!("/{name}?"), 1))
}

/// Reference data that lies beside the checkout in CI. `None`, with a printed reason, in a user's clone.
///
/// # Panics
/// When it is missing where `CI` is `true`.
pub fn shared(relative: &str) -> Option<PathBuf> {
    let path = root().join("../shared").join(relative);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} must exist in CI", path.display());
    println!("skipped: {} not found", path.display());
    None
}
