//! Chaos: a sweep of small jobs on a cluster of real processes whose every part is killed, frozen or cut off at random ends as a quiet run
//! on one machine does. Short by default; `QUIVER_CHAOS=full` runs 500 jobs with twenty faults of each kind. `QUIVER_CHAOS_SEED` repeats
//! the faults of a run, though not the moments at which processes meet them. Tables, objects and logs stay in `QUIVER_CHAOS_DIR`, where
//! that names a folder.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failed step is a failed test"
)]

mod checks;
mod cluster;
mod kept;
mod killer;
mod proxy;

use std::path::Path;
use std::time::{Duration, Instant};

use cluster::Cluster;
use serde_json::Value;

/// How large a run is.
struct Size {
    jobs: usize,
    /// Faults of each kind of process.
    faults: u32,
    /// Steps of a job, and milliseconds that a runner takes for one: so long that the faults are over before the jobs are.
    steps: u64,
    millis: u64,
}

const SHORT: Size = Size { jobs: 60, faults: 2, steps: 8, millis: 150 };
const FULL: Size = Size { jobs: 500, faults: 20, steps: 12, millis: 150 };
/// A sweep over many tools: a job for each, and a few over all of them.
const MANIFEST: &str = "name: chaos\nbase: {path: base}\ndataset: {records: {path: tools}}\nevaluate: {}\n";
/// Jobs of a sweep that are not of one tool.
const COMMON: usize = 8;
/// How long a sweep may take once nobody disturbs it any more.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_a_sweep_ends_as_a_quiet_run_does() {
    if std::env::var("QUIVER_TEST_POSTGRES").is_err() && !Path::new("/usr/lib/postgresql").is_dir() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "Postgres must be installed in CI");
        println!("skipped: no Postgres");
        return;
    }
    let size = if std::env::var("QUIVER_CHAOS").as_deref() == Ok("full") { FULL } else { SHORT };
    let seed =
        std::env::var("QUIVER_CHAOS_SEED").ok().map_or_else(rand::random, |text| text.parse().unwrap());
    println!("QUIVER_CHAOS_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("QUIVER_CHAOS_DIR").map(std::path::PathBuf::from);
    let place = kept.as_deref().unwrap_or(folder.path());
    let tools: Vec<_> = (0..size.jobs - COMMON).map(|number| format!("tool_{number}")).collect();
    tests::workspace::write(place, &tools);
    let manifest = place.join("chaos.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    let manifest = manifest.to_str().unwrap();
    let hurry = place.join("hurry");
    let walk = format!("{} {} {}", size.steps, size.millis, hurry.display());

    let began = Instant::now();
    let folder_of_full = place.join("full");
    std::fs::create_dir_all(&folder_of_full).unwrap();
    let cluster = Cluster::full(&folder_of_full, &walk).await;
    let submitted = cluster.json(&["submit", manifest]).await;
    let jobs: u64 = stages(&submitted["plan"]).sum();
    println!("{jobs} jobs submitted after {:.1} s", began.elapsed().as_secs_f64());
    let done = killer::run(&cluster, seed, size.faults).await;
    let left = unfinished(&cluster).await;
    println!(
        "{} faults in {:.1} s, {left} jobs left: {done:?}",
        done.values().sum::<u32>(),
        began.elapsed().as_secs_f64()
    );
    assert!(left > 0, "the jobs were over before the faults: give them more steps");
    std::fs::write(&hurry, "").unwrap();
    finish(&cluster).await;
    println!("the sweep ended after {:.1} s; starts: {:?}", began.elapsed().as_secs_f64(), cluster.starts());
    let disturbed = checks::check(&cluster, jobs).await;
    cluster.stop().await;

    let quiet = place.join("quiet");
    std::fs::create_dir_all(&quiet).unwrap();
    let cluster = Cluster::quiet(&quiet, &walk).await;
    cluster.json(&["submit", manifest]).await;
    finish(&cluster).await;
    let undisturbed = checks::check(&cluster, jobs).await;
    cluster.stop().await;
    assert_eq!(disturbed.len(), undisturbed.len());
    for (key, files) in &undisturbed {
        assert_eq!(disturbed.get(key), Some(files), "job {key} has other bytes than in a quiet run");
    }
    println!("{jobs} jobs as in a quiet run, {:.1} s in all", began.elapsed().as_secs_f64());
}

fn stages(plan: &Value) -> impl Iterator<Item = u64> {
    plan["stages"].as_array().unwrap().iter().map(|stage| stage["jobs"].as_u64().unwrap())
}

/// Jobs of the sweep that have not succeeded.
async fn unfinished(cluster: &Cluster) -> u64 {
    let status = cluster.json(&["status", "chaos"]).await;
    let stages = status["sweeps"][0]["stages"].as_array().unwrap();
    let open =
        |stage: &Value| stage["jobs"].as_u64().unwrap() - stage["states"]["succeeded"].as_u64().unwrap_or(0);
    stages.iter().map(open).sum()
}

/// Waits for the end of the sweep, which must be a success.
async fn finish(cluster: &Cluster) {
    let began = Instant::now();
    loop {
        let status = cluster.json(&["status", "chaos"]).await;
        match status["sweeps"][0]["state"].as_str().unwrap() {
            "succeeded" => return,
            "running" if began.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(300)).await,
            state => panic!("the sweep is {state}: {status:#}"),
        }
    }
}
