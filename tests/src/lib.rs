//! What the tests over the built binaries share: finding them, running them, and the reference data beside the checkout.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test that cannot start says so and fails")]

pub mod s3;

use std::path::{Path, PathBuf};

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
