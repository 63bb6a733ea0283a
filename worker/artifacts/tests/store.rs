//! Artifacts from folder to store and back.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::error::ErrorCode;
use proto::id::{Attempt, JobKey};
use proto_kit::clock::SystemClock;
use serde_json::json;
use tempfile::TempDir;
use worker_artifacts::{
    ArtifactError, ArtifactRef, Artifacts, Cache, Committed, Import, ImportFile, Manifest, Record, Source,
    hash_bytes,
};

struct World {
    folder: TempDir,
    artifacts: Artifacts,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(&folder.path().join("store").to_string_lossy()).unwrap();
        Self { folder, artifacts }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder with these files.
    fn output(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let folder = self.path(name);
        for (file, content) in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        folder
    }

    fn cache(&self) -> Cache {
        Cache::open(&self.path("cache"), None, Arc::new(SystemClock::default())).unwrap()
    }

    fn object(&self, key: &str) -> PathBuf {
        self.path("store").join(key)
    }
}

fn record(attempt: u32) -> Record {
    Record {
        key: JobKey(hash_bytes(b"job").digest),
        attempt: Attempt(attempt),
        role: "adapter".to_owned(),
        inputs: BTreeMap::new(),
        metrics: json!({"loss": 0.25}),
        versions: BTreeMap::from([("runner".to_owned(), "0.1.0".to_owned())]),
        trace: None,
    }
}

#[tokio::test]
async fn a_folder_comes_back_byte_for_byte() {
    let world = World::new();
    let large: Vec<u8> = (0..20_000_000_u32).map(|i| (i >> 8) as u8 ^ i as u8).collect();
    let output = world.output("out", &[("adapter.bin", &large), ("sub/config.json", b"{}"), ("empty", b"")]);
    let Committed { artifact, bytes: size, .. } =
        world.artifacts.commit_folder(&record(1), &output).await.unwrap();
    assert_eq!(
        (artifact.path.as_str(), size),
        (format!("manifests/{}/1", record(1).key).as_str(), 20_000_002)
    );

    let manifest = world.artifacts.fetch(&artifact, &world.path("plain"), None).await.unwrap();
    assert_eq!(manifest.metrics, json!({"loss": 0.25}));
    let paths: Vec<_> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["adapter.bin", "empty", "sub/config.json"]);
    let cache = world.cache();
    for into in ["plain", "one", "two"] {
        world.artifacts.fetch(&artifact, &world.path(into), Some(&cache)).await.unwrap();
        assert_eq!(std::fs::read(world.path(into).join("adapter.bin")).unwrap(), large);
        assert_eq!(std::fs::read(world.path(into).join("sub/config.json")).unwrap(), b"{}");
        assert_eq!(std::fs::read_dir(world.path(into)).unwrap().count(), 3, "nothing else lies in {into}");
    }
    let inode = |into: &str| std::fs::metadata(world.path(into).join("adapter.bin")).unwrap().ino();
    assert_eq!(inode("one"), inode("two"));
    assert_eq!(world.artifacts.read(&artifact, "sub/config.json").await.unwrap(), "{}");
}

#[tokio::test]
async fn an_earlier_try_of_the_same_attempt_counts() {
    let world = World::new();
    let first = world.output("first", &[("a", b"one")]);
    let second = world.output("second", &[("a", b"two")]);
    let winner = world.artifacts.commit_folder(&record(1), &first).await.unwrap().artifact;
    assert_eq!(world.artifacts.commit_folder(&record(1), &first).await.unwrap().artifact, winner);
    assert_eq!(world.artifacts.commit_folder(&record(1), &second).await.unwrap().artifact, winner);
    let other = world.artifacts.commit_folder(&record(2), &second).await.unwrap().artifact;
    assert_ne!(other, winner);
    let checkpoint = world.artifacts.commit_checkpoint(&record(2), 40, &first).await.unwrap().artifact;
    assert_eq!(checkpoint.path, format!("checkpoints/{}/2/40", record(2).key));
}

#[tokio::test]
async fn an_earlier_try_whose_blob_is_gone_does_not_count() {
    let world = World::new();
    let first = world.output("first", &[("a", b"one")]);
    world.artifacts.commit_folder(&record(1), &first).await.unwrap();
    let lost = hash_bytes(b"one").object();
    std::fs::remove_file(world.object(&lost)).unwrap();
    let other = world.output("other", &[("a", b"two")]);
    let error = world.artifacts.commit_folder(&record(1), &other).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("`{lost}` does not exist in file://")), "{error}");
}

#[tokio::test]
async fn damage_is_found_and_named() {
    let world = World::new();
    let output = world.output("o", &[("a", b"good")]);
    let artifact = world.artifacts.commit_folder(&record(1), &output).await.unwrap().artifact;
    let (good, evil) = (hash_bytes(b"good"), hash_bytes(b"evil"));
    std::fs::write(world.object(&good.object()), "evil").unwrap();
    let expected =
        format!("`{}` is damaged: expected sha256 {}, got {}", good.object(), good.digest, evil.digest);
    let cache = world.cache();
    for cache in [None, Some(&cache)] {
        let error = world.artifacts.fetch(&artifact, &world.path("into"), cache).await.unwrap_err();
        assert_eq!((error.to_string(), error.code()), (expected.clone(), ErrorCode::Storage));
    }
    assert_eq!(std::fs::read_dir(world.path("into")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(world.path("cache")).unwrap().count(), 0);

    std::fs::write(world.object(&good.object()), "go").unwrap();
    let error = world.artifacts.put_bytes("good".into()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` is damaged: expected 4 bytes, got 2", good.object()));
    let wrong = ArtifactRef { digest: good.digest, ..artifact };
    assert!(matches!(world.artifacts.manifest(&wrong).await, Err(ArtifactError::Damaged { .. })));
}

#[tokio::test]
async fn a_damaged_cache_heals() {
    let world = World::new();
    let blob = world.artifacts.put_bytes("content".into()).await.unwrap();
    let path = world.path("cache").join(blob.digest.to_string());
    std::fs::create_dir_all(world.path("cache")).unwrap();
    std::fs::write(&path, "torn").unwrap();
    let cache = world.cache();
    cache.link(&world.artifacts, &blob, &world.path("target")).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"content");
    assert_eq!(std::fs::read(world.path("target")).unwrap(), b"content");
}

#[tokio::test]
async fn many_users_of_one_content_download_it_once() {
    let world = World::new();
    let blob = world.artifacts.put_bytes(vec![3; 1 << 20].into()).await.unwrap();
    let cache = world.cache();
    let targets: Vec<_> = (0..16).map(|user| world.path(&format!("target{user}"))).collect();
    let users = targets.iter().map(|target| cache.link(&world.artifacts, &blob, target));
    futures::future::try_join_all(users).await.unwrap();
    std::fs::remove_dir_all(world.path("store")).unwrap();
    cache.link(&world.artifacts, &blob, &world.path("late")).await.unwrap();
    assert_eq!(std::fs::read(world.path("late")).unwrap(), [3; 1 << 20]);
    assert_eq!(std::fs::read_dir(world.path("cache")).unwrap().count(), 1);
}

#[tokio::test]
async fn imports_are_named_before_they_are_written_and_safe_to_repeat() {
    let world = World::new();
    std::fs::write(world.path("model.bin"), b"weights").unwrap();
    let file = |path: &str, source| ImportFile { path: path.to_owned(), source };
    let files =
        || vec![file("b", Source::Bytes("bytes".into())), file("a", Source::File(world.path("model.bin")))];
    let import = Import::plan("base", files()).unwrap();
    assert!(!world.object("manifests").exists());
    assert_eq!(import.artifact.path, format!("manifests/imports/{}", import.artifact.digest));
    assert_eq!(Import::plan("base", files().into_iter().rev().collect()).unwrap().artifact, import.artifact);
    for _ in 0..2 {
        assert_eq!(world.artifacts.put_import(&import).await.unwrap(), import.artifact);
    }
    assert_eq!(world.artifacts.read(&import.artifact, "a").await.unwrap(), "weights");

    let several: Vec<_> = ["x", "y", "z"]
        .map(|text| Import::plan("base", vec![file("only", Source::Bytes(text.into()))]).unwrap())
        .into();
    world.artifacts.put_imports(&several).await.unwrap();
    for (import, text) in several.iter().zip(["x", "y", "z"]) {
        assert_eq!(world.artifacts.read(&import.artifact, "only").await.unwrap(), text);
    }

    let late = Import::plan("base", vec![file("c", Source::File(world.path("later")))]).unwrap_err();
    assert!(late.to_string().starts_with("cannot read ") && late.to_string().contains("later"), "{late}");
    std::fs::write(world.path("moving"), b"before").unwrap();
    let import = Import::plan("base", vec![file("m", Source::File(world.path("moving")))]).unwrap();
    std::fs::write(world.path("moving"), b"after").unwrap();
    assert!(matches!(world.artifacts.put_import(&import).await, Err(ArtifactError::Damaged { .. })));
    assert!(!world.object(&import.artifact.path).exists());
}

#[tokio::test]
async fn a_manifest_that_leads_out_is_refused() {
    let world = World::new();
    let import =
        Import::plan("x", vec![ImportFile { path: "inside".into(), source: Source::Bytes("x".into()) }])
            .unwrap();
    world.artifacts.put_import(&import).await.unwrap();
    let evil = String::from_utf8(import.manifest.to_vec()).unwrap().replace("inside", "../evil");
    let path = "manifests/evil".to_owned();
    std::fs::write(world.object(&path), &evil).unwrap();
    let artifact = ArtifactRef { path, digest: hash_bytes(evil.as_bytes()).digest };
    let error = world.artifacts.fetch(&artifact, &world.path("into"), None).await.unwrap_err();
    assert!(error.to_string().starts_with("path `../evil` cannot be part of an artifact"), "{error}");
    assert!(!world.path("evil").exists() && !world.path("into").exists());
    assert!(Manifest::decode("m", evil.as_bytes()).is_err());
}

#[tokio::test]
async fn links_in_a_result_are_refused() {
    let world = World::new();
    let output = world.output("o", &[("a", b"a")]);
    std::os::unix::fs::symlink("/etc/hostname", output.join("link")).unwrap();
    let error = world.artifacts.commit_folder(&record(1), &output).await.unwrap_err();
    assert!(error.to_string().contains("neither a file nor a folder"), "{error}");
}

#[tokio::test]
async fn addresses() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Artifacts::open(&folder.path().join("s p").to_string_lossy()).unwrap();
    let blob = plain.put_bytes("x".into()).await.unwrap();
    let again = Artifacts::open(plain.url()).unwrap();
    assert!(again.has(&blob).await.unwrap());
    for (url, part) in [("file://relative/x", "must be file:///absolute/path"), ("", "is empty")] {
        let error = Artifacts::open(url).unwrap_err().to_string();
        assert!(error.starts_with(&format!("artifact store `{url}`: ")) && error.contains(part), "{error}");
    }
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = Artifacts::open(&Path::new(folder.path()).join("file/store").to_string_lossy()).unwrap_err();
    assert!(error.to_string().starts_with("cannot create "), "{error}");
}
