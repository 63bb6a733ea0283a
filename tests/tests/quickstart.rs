//! The main promise, on a small manifest with the real binaries: killed at any moment and started again, a sweep ends with the same
//! bytes and the same table as if nothing had happened, and nothing committed is computed twice.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tests::{binary, root};

/// Moments at which the coordinator is killed.
const KILLS: usize = 10;

/// A manifest over a few tools of the toolbox, small enough to run a dozen times.
fn small_manifest(folder: &Path) -> PathBuf {
    let toolbox = root().join("examples/toolbox/tools.json");
    let tools: Value = serde_json::from_str(&std::fs::read_to_string(toolbox).unwrap()).unwrap();
    let few: Vec<_> = tools.as_array().expect("a list of tools").iter().take(5).cloned().collect();
    std::fs::write(folder.join("tools.json"), serde_json::to_string(&few).unwrap()).unwrap();
    let made = Command::new(binary("runner"))
        .args(["synthesize", "--traces", "2", "--entries", "3"])
        .arg(folder.join("tools.json"))
        .arg("--out")
        .arg(folder.join("toolbox"))
        .status()
        .unwrap();
    assert!(made.success());
    let manifest = folder.join("small.yaml");
    let base = root().join("examples/tiny-base").canonicalize().unwrap();
    let text = format!(
        "name: small\nbase:\n  path: {}\ndataset:\n  records:\n    path: toolbox\nstages:\n  prompt: {{style: terse, max_tokens: \
         512}}\n  pretrain: {{lr: 1.0e-3, slots: 4, tokens_per_pass: 1024}}\n  gate: {{epochs: 3}}\nevaluate:\n  generation: \
         {{max_new_tokens: 24}}\n  categories: [multiple, parallel_multiple]\n",
        base.display()
    );
    std::fs::write(&manifest, text).unwrap();
    manifest
}

fn run(manifest: &Path, dir: &Path) -> Command {
    let mut command = Command::new(binary("coordinator"));
    command.args(["run", "--json"]).arg(manifest).arg("--dir").arg(dir);
    command.env("QUIVER_CHECKPOINT_SECONDS", "0.3").stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs to the end and returns the last line.
fn finish(manifest: &Path, dir: &Path) -> Value {
    let output = run(manifest, dir).stderr(Stdio::piped()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(stdout.lines().last().expect("a last line")).expect("one JSON line")
}

/// Every artifact's files by job key: path → digest, from the committed manifests.
fn artifacts(result: &Value, dir: &Path) -> BTreeMap<String, Vec<(String, String)>> {
    let named = result["artifacts"].as_object().expect("artifacts").iter();
    let files = named.map(|(name, artifact)| {
        let path = dir.join("store").join(artifact["path"].as_str().expect("a path"));
        let manifest: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let files = manifest["files"].as_array().expect("files").iter();
        let files = files.map(|f| (f["path"].to_string(), f["sha256"].to_string())).collect();
        (name.clone(), files)
    });
    files.collect()
}

/// Every object of a store with the time when it was written.
fn stored(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut objects = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            objects.append(&mut stored(&path));
        } else {
            let written = path.metadata().unwrap().modified().unwrap();
            objects.insert(path, written);
        }
    }
    objects
}

#[test]
fn killed_at_any_moment_it_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = small_manifest(folder.path());

    let quiet_dir = folder.path().join("quiet");
    let began = Instant::now();
    let quiet = finish(&manifest, &quiet_dir);
    let quiet_time = began.elapsed();
    assert_eq!(quiet["state"], "succeeded");

    let dir = folder.path().join("killed");
    let mut rng = ChaCha8Rng::seed_from_u64(2026);
    for _ in 0..KILLS {
        let mut child = run(&manifest, &dir).stdout(Stdio::null()).spawn().unwrap();
        // Each life is up to a quarter of the quiet run, so that the kills fall into every stage.
        let life = quiet_time.mul_f64(rng.random_range(0.02..0.25)).max(Duration::from_millis(50));
        let born = Instant::now();
        while born.elapsed() < life && child.try_wait().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let killed = finish(&manifest, &dir);
    assert_eq!(killed["scores"], quiet["scores"]);
    assert_eq!(artifacts(&killed, &dir), artifacts(&quiet, &quiet_dir));

    // Once more: everything is committed, so nothing runs and nothing is written.
    let before = stored(&dir.join("store"));
    let again = finish(&manifest, &dir);
    assert_eq!(again["scores"], quiet["scores"]);
    assert_eq!(stored(&dir.join("store")), before, "a finished sweep is not computed again");
}

#[test]
fn a_fan_that_does_not_fit_is_refused_before_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = small_manifest(folder.path());
    let mut command = run(&manifest, &folder.path().join("tight"));
    let output = command.env("QUIVER_LANE_MEMORY", "30000000").stderr(Stdio::piped()).output().unwrap();
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("stages.pretrain: 4 slots and passes of ") && said.contains(" would fit"),
        "{said}"
    );
}
