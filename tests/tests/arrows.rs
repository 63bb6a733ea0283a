//! The arrows of the architecture: who may depend on whom among the rooms, and which rooms stay free of tensors, network and SQL.

#![expect(clippy::expect_used, reason = "a failed step is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Room → rooms that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("proto-kit", &[]),
    ("jobs-spec", &["proto"]),
    ("coordinator-core", &["proto"]),
    ("coordinator-store", &["proto", "coordinator-core"]),
    (
        "coordinator",
        &[
            "proto",
            "proto-kit",
            "coordinator-core",
            "coordinator-store",
            "worker-artifacts",
            "jobs-spec",
            "jobs-data",
        ],
    ),
    ("worker-artifacts", &["proto", "proto-kit"]),
    ("worker", &["proto", "proto-kit", "worker-artifacts"]),
    ("jobs-eval", &["jobs-spec"]),
    ("jobs-data", &["jobs-spec", "jobs-eval"]),
    ("jobs-text", &["jobs-spec", "jobs-data"]),
    ("jobs-lm", &["jobs-spec"]),
    ("jobs-lora", &["jobs-spec", "jobs-lm"]),
    ("jobs-train", &["jobs-spec", "jobs-lm", "jobs-lora"]),
    (
        "jobs-paratool",
        &["proto", "jobs-spec", "jobs-data", "jobs-text", "jobs-eval", "jobs-lm", "jobs-lora", "jobs-train"],
    ),
    (
        "jobs-runner",
        &[
            "proto",
            "jobs-spec",
            "jobs-data",
            "jobs-text",
            "jobs-eval",
            "jobs-lm",
            "jobs-lora",
            "jobs-train",
            "jobs-paratool",
        ],
    ),
    (
        "bench-control-plane",
        &["proto", "proto-kit", "coordinator-core", "coordinator-store", "worker", "jobs-spec"],
    ),
    ("tests", &[]),
    (
        "sim",
        &[
            "proto",
            "proto-kit",
            "coordinator-core",
            "coordinator-store",
            "coordinator",
            "worker-artifacts",
            "worker",
            "jobs-spec",
        ],
    ),
];

/// Room → outside crates that it must not name: tensors, network, SQL, clocks and random sources where they do not belong.
const BANNED: &[(&str, &[&str])] = &[
    ("coordinator-core", &["tokio", "tonic", "sqlx", "burn", "rand", "rand_chacha", "tracing"]),
    ("coordinator", &["burn", "sqlx"]),
    ("worker", &["burn", "sqlx", "object_store"]),
    ("worker-artifacts", &["burn", "sqlx", "tonic"]),
    ("jobs-spec", &["burn", "tokio", "tonic"]),
    ("jobs-data", &["burn", "tokio", "tonic", "sqlx"]),
    ("jobs-text", &["burn", "tokio", "tonic", "sqlx"]),
    ("jobs-eval", &["burn", "tokio", "tonic", "sqlx"]),
    ("jobs-lm", &["tokio", "tonic", "sqlx"]),
    ("jobs-runner", &["tokio", "tonic", "sqlx", "object_store"]),
    ("sim", &["burn"]),
    ("bench-control-plane", &["burn"]),
];

/// Package → the packages it names outside dev-dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata");
    let packages = metadata.packages.into_iter().map(|package| {
        let named = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
        (package.name.to_string(), named.map(|d| d.name.clone()).collect())
    });
    packages.collect()
}

#[test]
fn arrows_point_one_way() {
    let found = dependencies();
    let rooms: BTreeSet<_> = found.keys().cloned().collect();
    let listed: BTreeSet<_> = ALLOWED.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(rooms, listed, "every room is listed here, and no other");
    for (room, allowed) in ALLOWED {
        for dependency in found[*room].intersection(&rooms) {
            assert!(allowed.contains(&dependency.as_str()), "{room} may not depend on {dependency}");
        }
    }
}

#[test]
fn rooms_stay_free_of_what_is_not_theirs() {
    let found = dependencies();
    for (room, banned) in BANNED {
        for dependency in *banned {
            assert!(!found[*room].contains(*dependency), "{room} must not name {dependency}");
        }
    }
}
