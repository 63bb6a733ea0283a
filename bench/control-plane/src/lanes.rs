//! Real workers with the scripted runner: how long a lane is idle between two jobs, and how soon each failure is over.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use coordinator_store::Store;
use proto::v1;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use worker::{Exit, Settings, Size};

use crate::coordinator::{Coordinator, clean, program};
use crate::database::Database;
use crate::fleet::Worker;
use crate::jobs;
use crate::report::{Goal, Sheet};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often something is looked for that nobody announces.
const GLANCE: Duration = Duration::from_millis(5);

/// Submits jobs for the scripted runner.
async fn submit(database: &Database, name: &str, count: usize, script: &Value) -> Result<()> {
    let table = database.open().await?;
    let job = |n: usize| jobs::scripted(&format!("{name}-{n}"), script);
    let sweep = jobs::sweep(name.to_owned(), "scripted", (0..count).map(job).collect());
    table.store.submit(table.stamp(), sweep).await?;
    table.close().await
}

/// Lanes that run one short job after the other: the time from the end of one to the start of the next.
pub(crate) async fn idle(
    database: &Database,
    sheet: &mut Sheet<'_>,
    lanes: usize,
    jobs: usize,
) -> Result<()> {
    submit(database, "idle", jobs, &json!({ "takes_ms": 100 })).await?;
    let coordinator = Coordinator::start(database).await?;
    let worker = worker::Worker::new(Settings {
        coordinator: coordinator.url.clone(),
        device: (0..lanes).map(|n| format!("cpu{n}")).collect(),
        dir: database.folder().join("idle"),
        runner: Some(program("examples/scripted_runner")?),
        min_free_disk: Size(0),
        ..Settings::default()
    })?;
    let (metrics, exit) = (Arc::clone(&worker.metrics), Exit::default());
    let working = tokio::spawn(worker.run(exit.clone()));
    let done = async {
        while metrics.jobs_committed.get() < jobs as u64 {
            sleep(GLANCE).await;
        }
    };
    timeout(PATIENCE, done).await.context("the worker does not get its jobs done")?;
    let gap = metrics.idle_gap();
    exit.now();
    working.await??;
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    sheet.note(format!("idle gap of {lanes} lanes, p50 of {}", gap.count), ms(gap.p50), "ms");
    sheet.hold(format!("idle gap of {lanes} lanes, p99"), ms(gap.p99), "ms", Goal::AtMost(200.0));
    coordinator.stop().await
}

/// A worker in a process of its own, with one lane.
fn start_worker(coordinator: &Coordinator, folder: &Path) -> Result<Child> {
    let mut command = Command::new(program("worker")?);
    command.args(["run", "--coordinator", &coordinator.url, "--device", "cpu", "--runner"]);
    command.arg(program("examples/scripted_runner")?).arg("--dir").arg(folder);
    Ok(clean(&mut command)
        .envs([("QUIVER_WORKER__MIN_FREE_DISK", "0"), ("QUIVER_WORKER__LOG", "error")])
        .spawn()?)
}

/// Jobs for each worker that is killed, since the first to come fetches some ahead.
const JOBS_EACH: usize = 4;

/// Workers are killed while they compute: the time until each of their jobs is another's.
pub(crate) async fn death(database: &Database, sheet: &mut Sheet<'_>, victims: usize) -> Result<()> {
    let jobs = victims * JOBS_EACH;
    submit(database, "death", jobs, &json!({ "gate": "/nonexistent/gate" })).await?;
    let coordinator = Coordinator::start(database).await?;
    let mut workers = Vec::new();
    for n in 0..victims {
        workers.push(start_worker(&coordinator, &database.folder().join(format!("victim-{n}")))?);
        // So that they die at different times after their last heartbeats.
        sleep(Duration::from_secs(5).div_f64(victims as f64)).await;
    }
    let mut operator = coordinator.operator().await?;
    let running = async {
        let request = || v1::JobsRequest {
            sweep: "death".to_owned(),
            state: "running".to_owned(),
            ..Default::default()
        };
        while operator.jobs(request()).await?.into_inner().matching < victims as u64 {
            sleep(GLANCE).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, running).await.context("the victims do not work")??;
    let witness = Worker::register(&coordinator, "witness").await?;
    // What nobody holds is taken first: all that is offered later was a victim's.
    let mut free = 0;
    while !witness.acquire(1, Duration::ZERO).await?.is_empty() {
        free += 1;
    }
    for worker in &mut workers {
        worker.start_kill()?;
    }
    let killed = Instant::now();
    let beats = tokio::spawn({
        let witness = witness.clone();
        async move {
            while witness.beat().await.is_ok() {
                sleep(Duration::from_secs(5)).await;
            }
        }
    });
    let mut seen = Vec::new();
    while seen.len() < jobs - free {
        if killed.elapsed() > PATIENCE {
            bail!("{} of {} jobs of dead workers were not seen", jobs - free - seen.len(), jobs - free);
        }
        let offers = witness.acquire(1, Duration::from_secs(20)).await?;
        seen.extend(offers.iter().map(|_| killed.elapsed().as_secs_f64()));
    }
    beats.abort();
    let longest = seen.iter().copied().fold(0.0, f64::max);
    sheet.note(
        format!("death of {victims} workers seen, mean"),
        seen.iter().sum::<f64>() / seen.len() as f64,
        "s",
    );
    sheet.hold(format!("death of {victims} workers seen, longest"), longest, "s", Goal::AtMost(30.0));
    coordinator.stop().await
}

/// The coordinator is killed and started again: the time from its start until it hands a job out.
pub(crate) async fn restart(database: &Database, sheet: &mut Sheet<'_>, outages: &[Duration]) -> Result<()> {
    submit(database, "restart", 2_000, &json!({ "takes_ms": 100 })).await?;
    let mut coordinator = Coordinator::start(database).await?;
    let mut worker = start_worker(&coordinator, &database.folder().join("restart"))?;
    dispatched(&coordinator, 0).await?;
    for outage in outages.iter().copied() {
        let port = coordinator.port()?;
        coordinator.kill().await?;
        sleep(outage).await;
        let (began, since) = (Instant::now(), now_micros()?);
        coordinator = Coordinator::launch(database, port).await?;
        coordinator.serves().await?;
        let serving = began.elapsed().as_secs_f64();
        let leased = dispatched(&coordinator, since).await?;
        let seconds = (leased - since) as f64 / 1e6;
        let after = format!("restart after {} s", outage.as_secs());
        sheet.note(format!("{after}, to the first answer"), serving, "s");
        sheet.hold(format!("{after}, to the first dispatch"), seconds, "s", Goal::AtMost(2.0));
    }
    worker.kill().await?;
    coordinator.stop().await
}

/// When the first job was handed out after some time, by the journal.
async fn dispatched(coordinator: &Coordinator, since: i64) -> Result<i64> {
    let mut operator = coordinator.operator().await?;
    let leased = async {
        let mut after = 0;
        loop {
            let mut events = operator.events(v1::EventsRequest { after, follow: false }).await?.into_inner();
            while let Some(event) = events.message().await? {
                after = event.seq;
                if event.at > since && event.kind == "job.leased" {
                    return anyhow::Ok(event.at);
                }
            }
            sleep(GLANCE).await;
        }
    };
    timeout(PATIENCE, leased).await.context("no job is handed out")?
}

/// The leader is killed: the time until the one that stood by hands a job out.
pub(crate) async fn takeover(database: &Database, sheet: &mut Sheet<'_>) -> Result<()> {
    submit(database, "takeover", 10, &json!({})).await?;
    let leader = Coordinator::start(database).await?;
    let standby = Coordinator::launch(database, 0).await?;
    if standby.operator().await?.hello(v1::HelloRequest {}).await.is_ok() {
        bail!("two coordinators lead over one table");
    }
    leader.kill().await?;
    let killed = Instant::now();
    let served = async {
        loop {
            if let Ok(worker) = Worker::register(&standby, "takeover").await {
                return worker.acquire(1, Duration::from_secs(20)).await;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let offers = timeout(PATIENCE, served).await.context("nobody takes over")??;
    offers.first().context("the new leader has no jobs")?;
    sheet.hold(
        "takeover by a standby, to the first dispatch",
        killed.elapsed().as_secs_f64(),
        "s",
        Goal::AtMost(20.0),
    );
    standby.stop().await
}

fn now_micros() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}
