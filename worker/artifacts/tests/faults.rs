//! Stores that fail: what was committed is whole, what could not be committed says so, and nothing stays half.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use proptest::prelude::*;
use proto::id::{Attempt, JobKey};
use serde_json::json;
use worker_artifacts::faulty::{Call, Fault, FaultyStore, Operation};
use worker_artifacts::{ArtifactError, Artifacts, Record, hash_bytes};

fn record() -> Record {
    Record {
        key: JobKey(hash_bytes(b"job").digest),
        attempt: Attempt(1),
        role: "report".to_owned(),
        inputs: BTreeMap::new(),
        metrics: json!({}),
        versions: BTreeMap::new(),
        trace: None,
    }
}

/// A folder with a small file, an equal one, and one of three parts.
fn output(folder: &Path) -> PathBuf {
    let output = folder.join("output");
    std::fs::create_dir_all(output.join("sub")).unwrap();
    std::fs::write(output.join("small"), "small").unwrap();
    std::fs::write(output.join("sub/same"), "small").unwrap();
    std::fs::write(output.join("large"), vec![7; 17 << 20]).unwrap();
    output
}

fn over(inner: &Arc<InMemory>, decide: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> Artifacts {
    let inner: Arc<dyn ObjectStore> = Arc::clone(inner) as _;
    Artifacts::over(Arc::new(FaultyStore::new(inner, decide)), "mem://faulty")
}

/// The calls of one undisturbed commit and fetch.
async fn calls() -> Vec<Call> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let folder = tempfile::tempdir().unwrap();
    let artifacts = over(&Arc::default(), {
        let seen = Arc::clone(&seen);
        move |call| {
            seen.lock().unwrap().push(call.clone());
            Fault::None
        }
    });
    let artifact = artifacts.commit_folder(&record(), &output(folder.path())).await.unwrap().artifact;
    artifacts.fetch(&artifact, &folder.path().join("into"), None).await.unwrap();
    let calls = seen.lock().unwrap().clone();
    assert!(calls.iter().any(|call| call.operation == Operation::Complete));
    calls
}

#[tokio::test(start_paused = true)]
async fn each_call_may_fail_once_before_or_after_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let output = output(folder.path());
    let mut cases = 0;
    for call in calls().await {
        for fault in [Fault::Before, Fault::After, Fault::Partial(2), Fault::Delay(Duration::from_secs(3))] {
            let inner = Arc::new(InMemory::new());
            let artifacts =
                over(&inner, move |met| if met.number == call.number { fault } else { Fault::None });
            let artifact = artifacts.commit_folder(&record(), &output).await.unwrap().artifact;
            let into = folder.path().join(format!("into{cases}"));
            artifacts.fetch(&artifact, &into, None).await.unwrap();
            assert_eq!(std::fs::read(into.join("large")).unwrap(), vec![7; 17 << 20]);
            assert_eq!(std::fs::read_dir(&into).unwrap().count(), 3, "nothing half stays");
            let sound = over(&inner, |_| Fault::None);
            let verified = sound.verify(&BTreeSet::from([artifact]), true).await.unwrap();
            assert!(verified.problems.is_empty(), "{call:?} {fault:?}: {verified:?}");
            std::fs::remove_dir_all(into).unwrap();
            cases += 1;
        }
    }
    assert!(cases > 40, "{cases}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_an_error_that_may_pass_and_uploads_are_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let output = output(folder.path());
    for broken in [Operation::Put, Operation::Begin, Operation::Part, Operation::Complete, Operation::Head] {
        let (begun, aborted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (Arc::clone(&begun), Arc::clone(&aborted));
        let artifacts = over(&Arc::default(), move |call| {
            match call.operation {
                operation if operation == broken => return Fault::Before,
                Operation::Begin => counters.0.fetch_add(1, Ordering::Relaxed),
                Operation::Abort => counters.1.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
            Fault::None
        });
        let error = artifacts.commit_folder(&record(), &output).await.unwrap_err();
        assert!(error.retryable() && !error.to_string().contains('\n'), "{broken:?}: {error}");
        let (begun, aborted) = (begun.load(Ordering::Relaxed), aborted.load(Ordering::Relaxed));
        match broken {
            Operation::Part | Operation::Complete => assert!(begun > 1 && begun == aborted, "{broken:?}"),
            _ => assert!(aborted <= begun),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn deletions_and_listings_bear_faults_too() {
    let inner = Arc::new(InMemory::new());
    let artifacts = over(&inner, |call| match (call.operation, call.number % 4) {
        (Operation::Delete, 0) => Fault::Before,
        (Operation::Delete, 1) => Fault::After,
        _ => Fault::None,
    });
    let mut keys = BTreeSet::new();
    for number in 0..10_u8 {
        keys.insert(artifacts.put_bytes(vec![number].into()).await.unwrap().object());
    }
    keys.insert(hash_bytes(b"never written").object());
    artifacts.delete(&keys).await.unwrap();
    assert!(artifacts.list().try_collect::<Vec<_>>().await.unwrap().is_empty());

    let away = over(&inner, |_| Fault::Before);
    let error = away.list().try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(error, ArtifactError::Store { action: "list", .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Faults at random, on every call: a commit that succeeds is whole, one that fails may be repeated until it succeeds.
    #[test]
    fn whatever_fails_a_commit_is_whole_or_can_be_repeated(seed in any::<u64>(), rate in 2..9_u64) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let output = output(folder.path());
            let inner = Arc::new(InMemory::new());
            let faulty = over(&inner, move |call| {
                let text = format!("{seed} {} {:?}", call.number, call.operation);
                let [first, second, bytes, ..] = *hash_bytes(text.as_bytes()).digest.as_bytes();
                match second {
                    _ if u64::from(first) % rate != 0 => Fault::None,
                    0..100 => Fault::Before,
                    100..200 => Fault::After,
                    200.. => Fault::Partial(u64::from(bytes)),
                }
            });
            let artifact = loop {
                match faulty.commit_folder(&record(), &output).await {
                    Ok(committed) => break committed.artifact,
                    Err(error) => assert!(error.retryable(), "{error}"),
                }
            };
            let sound = over(&inner, |_| Fault::None);
            let all = BTreeSet::from([artifact]);
            let verified = sound.verify(&all, true).await.unwrap();
            assert!(verified.problems.is_empty(), "{verified:?}");
            let listed: BTreeSet<_> =
                sound.list().map_ok(|object| object.key).try_collect().await.unwrap();
            assert_eq!(listed, sound.references(&all).await.unwrap());
        });
    }
}
