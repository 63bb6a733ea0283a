//! Artifacts on every kind of store: a folder, an S3 server in this process, and any server that `QUIVER_TEST_S3_URL` and the `AWS_*`
//! variables name.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::{join_all, try_join_all};
use proto::id::{Attempt, JobKey};
use serde_json::json;
use tempfile::TempDir;
use tests::s3::{Answer, KEY, SECRET, Server};
use tracing_subscriber::layer::SubscriberExt;
use worker_artifacts::{
    ArtifactError, ArtifactRef, Artifacts, Import, ImportFile, Record, Source, garbage, hash_bytes,
};

/// A store, a folder for the test's own files, and what keeps both alive.
struct World {
    artifacts: Artifacts,
    folder: TempDir,
    /// Where objects lie, if this process can reach them.
    objects: Option<PathBuf>,
    server: Option<Server>,
}

impl World {
    fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let objects = folder.path().join("store");
        let artifacts = Artifacts::open(&objects.to_string_lossy()).unwrap();
        Self { artifacts, folder, objects: Some(objects), server: None }
    }

    async fn s3() -> Self {
        let server = Server::start().await;
        let artifacts = Artifacts::open_with("s3://quiver/some/prefix", &server.variables()).unwrap();
        let objects = Some(server.object("some/prefix"));
        Self { artifacts, folder: tempfile::tempdir().unwrap(), objects, server: Some(server) }
    }

    /// A server from outside. Each test works under a prefix of its own.
    fn outside() -> Option<Self> {
        let Ok(url) = std::env::var("QUIVER_TEST_S3_URL") else {
            println!("skipped: QUIVER_TEST_S3_URL names no server");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let url = format!("{}/{}", url.trim_end_matches('/'), own.trim_start_matches('.'));
        let artifacts = Artifacts::open(&url).unwrap();
        Some(Self { artifacts, folder, objects: None, server: None })
    }

    async fn all() -> Vec<Self> {
        let mut worlds = vec![Self::file(), Self::s3().await];
        worlds.extend(Self::outside());
        worlds
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn output(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let folder = self.path(name);
        for (file, content) in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }
}

fn record(job: &str, attempt: u32, role: &str) -> Record {
    Record {
        key: JobKey(hash_bytes(job.as_bytes()).digest),
        attempt: Attempt(attempt),
        role: role.to_owned(),
        inputs: BTreeMap::new(),
        metrics: json!({"loss": 0.5}),
        versions: BTreeMap::new(),
        trace: None,
    }
}

/// Bytes that need several parts.
fn large() -> Vec<u8> {
    (0..45_000_000_u32).map(|i| (i >> 8) as u8 ^ i as u8).collect()
}

#[tokio::test]
async fn a_folder_comes_back_byte_for_byte() {
    let large = large();
    for world in World::all().await {
        let output = world.output("out", &[("large", &large), ("sub/small", b"small"), ("empty", b"")]);
        let record = record("job", 1, "report");
        let committed = world.artifacts.commit_folder(&record, &output).await.unwrap();
        assert_eq!(committed.bytes, 45_000_005);
        let again = world.artifacts.commit_folder(&record, &output).await.unwrap();
        assert_eq!(again, committed);
        let into = world.path("into");
        world.artifacts.fetch(&committed.artifact, &into, None).await.unwrap();
        assert!(std::fs::read(into.join("large")).unwrap() == large);
        assert_eq!(std::fs::read(into.join("sub/small")).unwrap(), b"small");
        assert_eq!(std::fs::read(into.join("empty")).unwrap(), b"");
        assert_eq!(world.artifacts.read(&committed.artifact, "sub/small").await.unwrap(), "small");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_writers_that_come_together_one_wins_and_all_agree() {
    for world in World::all().await {
        let mut writers = Vec::new();
        for number in 0..12_u8 {
            let name = format!("out{number}");
            let output = world.output(&name, &[("number", &[number]), ("shared", b"shared")]);
            let artifacts = world.artifacts.clone();
            writers.push(tokio::spawn(async move {
                let committed = artifacts.commit_folder(&record("job", 7, "report"), &output).await;
                committed.map(|committed| committed.artifact)
            }));
        }
        let winners: BTreeSet<ArtifactRef> =
            join_all(writers).await.into_iter().map(|writer| writer.unwrap().unwrap()).collect();
        assert_eq!(winners.len(), 1);
        let verified = world.artifacts.verify(&winners, true).await.unwrap();
        assert!(verified.problems.is_empty(), "{verified:?}");
    }
}

#[tokio::test]
async fn verification_finds_each_problem_once() {
    for world in World::all().await {
        let mut artifacts = BTreeSet::new();
        let files: [&[(&str, &[u8])]; 2] =
            [&[("shared", b"shared"), ("a", b"aaaa")], &[("shared", b"shared")]];
        for (number, files) in files.into_iter().enumerate() {
            let output = world.output(&format!("out{number}"), files);
            let record = record(&format!("job{number}"), 1, "report");
            artifacts.insert(world.artifacts.commit_folder(&record, &output).await.unwrap().artifact);
        }
        for deep in [false, true] {
            let verified = world.artifacts.verify(&artifacts, deep).await.unwrap();
            assert_eq!((verified.objects, verified.bytes, verified.problems.len()), (4, 10, 0));
        }
        let Some(objects) = &world.objects else { continue };
        let shared = hash_bytes(b"shared").object();
        std::fs::write(objects.join(&shared), b"damage").unwrap();
        assert!(world.artifacts.verify(&artifacts, false).await.unwrap().problems.is_empty());
        let found = world.artifacts.verify(&artifacts, true).await.unwrap().problems;
        let [problem] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((problem.object.as_str(), &problem.artifacts), (shared.as_str(), &artifacts));
        assert!(matches!(problem.error, ArtifactError::Damaged { .. }));

        std::fs::write(objects.join(&shared), b"shorter").unwrap();
        std::fs::remove_file(objects.join(hash_bytes(b"aaaa").object())).unwrap();
        let lost = artifacts.last().unwrap().path.clone();
        std::fs::remove_file(objects.join(&lost)).unwrap();
        let found = world.artifacts.verify(&artifacts, false).await.unwrap().problems;
        assert!(found.iter().any(|problem| problem.object == lost), "{found:?}");
        assert!(found.iter().any(|problem| matches!(problem.error, ArtifactError::Size { got: 7, .. })));
        assert!(found.is_sorted_by(|a, b| a.object < b.object));
        assert!(world.artifacts.references(&artifacts).await.is_err(), "nothing may be deleted now");
    }
}

#[tokio::test]
async fn garbage_is_what_no_committed_artifact_needs() {
    for world in World::all().await {
        let output = world.output("out", &[("kept", b"kept"), ("shared", b"shared")]);
        let kept = world.artifacts.commit_folder(&record("kept", 1, "report"), &output).await.unwrap();
        let output = world.output("other", &[("lost", b"lost"), ("shared", b"shared")]);
        let lost = world.artifacts.commit_folder(&record("lost", 1, "report"), &output).await.unwrap();
        let kept = BTreeSet::from([kept.artifact]);
        let references = world.artifacts.references(&kept).await.unwrap();
        let listing: Vec<_> = world.artifacts.list().try_collect().await.unwrap();
        assert_eq!(listing.len(), 5);
        let newest = listing.iter().map(|object| object.modified_micros).max().unwrap();
        let hour = Duration::from_secs(3600);
        assert!(garbage(&listing, &references, hour, newest).is_empty(), "all are young");
        let unused = garbage(&listing, &references, hour, newest + 3_600_000_001);
        let mut keys: BTreeSet<_> = unused.into_iter().map(|object| object.key.clone()).collect();
        assert_eq!(keys, BTreeSet::from([hash_bytes(b"lost").object(), lost.artifact.path]));
        keys.insert(hash_bytes(b"never written").object());
        for _ in 0..2 {
            world.artifacts.delete(&keys).await.unwrap();
        }
        assert!(world.artifacts.verify(&kept, true).await.unwrap().problems.is_empty());
        assert_eq!(world.artifacts.list().try_collect::<Vec<_>>().await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn a_listing_of_several_pages_is_whole() {
    for world in World::all().await {
        let mut keys = BTreeSet::new();
        for page in 0..26_u16 {
            let puts =
                (0..50).map(|i| world.artifacts.put_bytes((page * 50 + i).to_le_bytes().to_vec().into()));
            keys.extend(try_join_all(puts).await.unwrap().into_iter().map(|blob| blob.object()));
        }
        let listed = world.artifacts.list().map_ok(|object| object.key).try_collect::<BTreeSet<_>>();
        assert_eq!(listed.await.unwrap(), keys);
        world.artifacts.delete(&keys).await.unwrap();
        assert!(world.artifacts.list().try_collect::<Vec<_>>().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_export_is_a_peft_folder_and_overwrites_nothing() {
    let files: &[(&str, &[u8])] =
        &[("adapter_config.json", b"{\"r\": 4}"), ("adapter_model.safetensors", b"weights")];
    for world in World::all().await {
        let output = world.output("out", files);
        let adapter = world.artifacts.commit_folder(&record("job", 1, "adapter"), &output).await.unwrap();
        let into = world.output("mine", &[("notes.txt", b"mine"), files[0]]);
        for _ in 0..2 {
            world.artifacts.export(&adapter.artifact, &into).await.unwrap();
        }
        for (name, content) in files {
            assert_eq!(std::fs::read(into.join(name)).unwrap(), *content);
        }
        std::fs::write(into.join("adapter_model.safetensors"), b"changed").unwrap();
        std::fs::remove_file(into.join("adapter_config.json")).unwrap();
        let error = world.artifacts.export(&adapter.artifact, &into).await.unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("adapter_model.safetensors exists and differs from the artifact's file")
        );
        assert_eq!(std::fs::read(into.join("adapter_model.safetensors")).unwrap(), b"changed");
        assert!(!into.join("adapter_config.json").exists(), "nothing was written");

        let half = world.output("half", &files[..1]);
        let half = world.artifacts.commit_folder(&record("half", 1, "adapter"), &half).await.unwrap();
        let error = world.artifacts.export(&half.artifact, &world.path("none")).await.unwrap_err();
        assert!(error.to_string().contains("is an adapter without `adapter_model.safetensors`"), "{error}");
        assert!(!world.path("none").exists());
    }
}

#[tokio::test]
async fn an_import_is_safe_to_repeat() {
    for world in World::all().await {
        let file = ImportFile { path: "tools.json".to_owned(), source: Source::Bytes("[]".into()) };
        let import = Import::plan("dataset", vec![file]).unwrap();
        for _ in 0..2 {
            assert_eq!(world.artifacts.put_import(&import).await.unwrap(), import.artifact);
        }
        assert_eq!(world.artifacts.read(&import.artifact, "tools.json").await.unwrap(), "[]");
    }
}

#[tokio::test]
async fn s3_writes_create_carry_checksums_and_send_parts_together() {
    let world = World::s3().await;
    let output = world.output("out", &[("large", &large()), ("small", b"small")]);
    world.artifacts.commit_folder(&record("job", 1, "report"), &output).await.unwrap();
    let puts: Vec<_> = world.server().seen().into_iter().filter(|seen| seen.method == "PUT").collect();
    assert!(puts.iter().all(|put| put.checksum), "{puts:?}");
    assert!(puts.iter().filter(|put| !put.is_part()).all(|put| put.creates), "{puts:?}");
    assert_eq!(puts.iter().filter(|put| put.is_part()).count(), 6);
    assert!((2..=4).contains(&world.server().most_parts()), "{}", world.server().most_parts());
    assert_eq!(world.server().unfinished(), 0);
}

#[tokio::test]
async fn an_upload_that_fails_for_good_is_aborted() {
    let world = World::s3().await;
    world.server().decide(|seen| match seen.is_part() && seen.target.contains("partNumber=3") {
        true => Answer::Refused(403.try_into().unwrap()),
        false => Answer::Served,
    });
    let file = world.output("out", &[("large", &large())]).join("large");
    let error = world.artifacts.put_file(&file).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Refused { .. }), "{error}");
    assert!(error.to_string().ends_with("Fault403: on purpose"), "{error}");
    let aborts = world.server().seen().iter().filter(|seen| seen.method == "DELETE").count();
    assert_eq!((aborts, world.server().unfinished()), (1, 0));
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_write_does_no_harm() {
    let world = World::s3().await;
    let writes = Arc::new(AtomicUsize::new(0));
    world.server().decide(move |seen| {
        // Every first write of something is done, and its client hears of a failure.
        let write = seen.method == "PUT" || seen.method == "POST";
        match write && writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            true => Answer::ServedBut(500.try_into().unwrap()),
            false => Answer::Served,
        }
    });
    let output = world.output("out", &[("large", &large()), ("small", b"small")]);
    let committed = world.artifacts.commit_folder(&record("job", 1, "report"), &output).await.unwrap();
    let verified = world.artifacts.verify(&BTreeSet::from([committed.artifact]), true).await.unwrap();
    assert!(verified.problems.is_empty(), "{verified:?}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_and_a_wrong_secret_are_refused_in_one_line() {
    let server = Server::start().await;
    let none = Artifacts::open_with("s3://nobodys", &server.variables()).unwrap();
    let mut variables = server.variables();
    variables.retain(|(name, _)| name != "AWS_SECRET_ACCESS_KEY");
    variables.push(("AWS_SECRET_ACCESS_KEY".to_owned(), "hush-another".to_owned()));
    let wrong = Artifacts::open_with("s3://quiver", &variables).unwrap();
    // The server makes buckets as objects come, so a listing asks for this one.
    let missing = none.list().try_collect::<Vec<_>>().await.unwrap_err();
    let denied = wrong.put_bytes("x".into()).await.unwrap_err();
    let import = Import::plan("dataset", vec![]).unwrap();
    let unsigned = wrong.put_manifest(&import.artifact, import.manifest).await.unwrap_err();
    for (error, part) in [(missing, "NoSuchBucket"), (denied, "403"), (unsigned, "SignatureDoesNotMatch")] {
        assert!(matches!(error, ArtifactError::Refused { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(part) && !text.contains('\n'), "{text}");
        assert!(!text.contains(KEY) && !text.contains("hush"), "{text}");
    }
}

/// Lines that this process logged, but for the server's.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn credentials_reach_no_log_no_message_and_no_debug_output() {
    let lines = Lines::default();
    let writer = lines.clone();
    let filter = tracing_subscriber::EnvFilter::new("trace,s3s=off,s3s_fs=off");
    let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(filter).with(layer));

    let server = Server::start().await;
    let mut variables = server.variables();
    variables.push(("AWS_SESSION_TOKEN".to_owned(), "hush-token".to_owned()));
    let artifacts = Artifacts::open_with("s3://quiver/x", &variables).unwrap();
    let failures = AtomicUsize::new(0);
    server.decide(move |_| match failures.fetch_add(1, Ordering::Relaxed) {
        0 | 2 => Answer::Refused(503.try_into().unwrap()),
        4.. => Answer::Refused(403.try_into().unwrap()),
        _ => Answer::Served,
    });
    let mut text = format!("{artifacts:?}");
    for _ in 0..4 {
        text.push_str(&format!("{:?}", artifacts.put_bytes("content".into()).await));
    }
    for url in [format!("s3://{KEY}:{SECRET}@quiver/x"), format!("s3://quiver/x?secret={SECRET}")] {
        let error = Artifacts::open_with(&url, &variables).unwrap_err();
        text.push_str(&format!("{error} {error:?}"));
    }
    text.push_str(&String::from_utf8_lossy(&lines.0.lock().unwrap()));
    assert!(text.contains("backing off"), "the log was heard: {text}");
    for secret in [KEY, SECRET, "hush-token"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn the_manual_names_every_kind_of_url_and_its_variables() {
    let manual = std::fs::read_to_string(Path::new(&tests::root()).join("docs/configuration.md")).unwrap();
    for word in [
        "file:///",
        "s3://",
        "gs://",
        "az://",
        "abfss://",
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "GOOGLE_SERVICE_ACCOUNT",
        "AZURE_STORAGE_ACCOUNT_NAME",
    ] {
        assert!(manual.contains(word), "{word}");
    }
}
