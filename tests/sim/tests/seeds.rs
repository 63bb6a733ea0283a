//! Simulations by seed. `QUIVER_SEED=n` runs one and prints its trace; `QUIVER_SEEDS=n` runs so many fresh ones, instead of 200.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::io::Write;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Simulations at a time.
const THREADS: u64 = 2;
/// Fresh seeds of a run that is not told otherwise.
const FRESH: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}: `{text}` is no number")))
}

fn simulate(seed: u64) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).arg(seed.to_string()).output().unwrap()
}

/// Says something that the test harness does not keep to itself.
fn say(bytes: &[u8]) {
    std::io::stdout().write_all(bytes).unwrap();
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[test]
fn no_seed_breaks_a_rule() {
    if let Some(seed) = number("QUIVER_SEED") {
        let output = simulate(seed);
        say(&output.stdout);
        assert!(output.status.success(), "seed {seed}: {}", complaint(&output));
        return;
    }
    let count = number("QUIVER_SEEDS").unwrap_or(FRESH);
    let base = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() * 1_000_000;
    say(format!("{count} seeds from {base}\n").as_bytes());
    let (next, failed, began) = (AtomicU64::new(base), Mutex::new(Vec::new()), Instant::now());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= base + count {
                        return;
                    }
                    let output = simulate(seed);
                    if !output.status.success() {
                        let line = format!(
                            "QUIVER_SEED={seed} cargo test --release -p sim  # {}",
                            complaint(&output)
                        );
                        say(format!("{line}\n").as_bytes());
                        failed.lock().unwrap().push(line);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    say(format!("{count} seeds in {:.1} s, {} failed\n", began.elapsed().as_secs_f64(), failed.len())
        .as_bytes());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 1..4 {
        let (one, two) = (simulate(seed), simulate(seed));
        assert!(one.stdout.len() > 10_000, "seed {seed} shows little: {}", complaint(&one));
        assert!(one.stdout == two.stdout, "seed {seed} gives two traces");
    }
}
