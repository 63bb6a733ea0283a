//! The job table alone: how fast its three busiest writes are, in batches as the coordinator gathers them.

use std::time::{Duration, Instant};

use anyhow::Result;
use coordinator_store::Store;
use coordinator_store::model::{Beat, Claim, Commit, Completion, Held, Lane, NewSession, Offer};
use proto::id::{LaneId, WorkerId};
use proto::pipe::Task;

use crate::database::Table;
use crate::jobs;
use crate::latency::Latencies;
use crate::report::Sheet;

/// Jobs that a lane with a fan takes at a time.
const SLOTS: u32 = 16;
/// Lanes whose calls share a transaction.
const LANES: usize = 16;

/// Measures for about `time` each.
pub(crate) async fn measure(
    table: &Table,
    sheet: &mut Sheet<'_>,
    workers: usize,
    time: Duration,
) -> Result<()> {
    let workers = register(table, workers).await?;
    let mut busy = Busy::default();
    let end = Instant::now() + 2 * time;
    let mut held = Vec::new();
    while Instant::now() < end {
        held = busy.claim(table, workers.get(..LANES.min(workers.len())).unwrap_or_default()).await?;
        if held.is_empty() {
            break;
        }
        busy.complete(table, &held).await?;
    }
    busy.told(sheet, held.len());
    beat(table, sheet, &workers, time).await
}

/// Claims and completions so far.
#[derive(Default)]
struct Busy {
    claims: Latencies,
    commits: Latencies,
    claimed: usize,
    committed: usize,
    claiming: Duration,
    committing: Duration,
}

impl Busy {
    async fn claim(&mut self, table: &Table, workers: &[WorkerId]) -> Result<Vec<(WorkerId, Offer)>> {
        let claim = |worker: &WorkerId| Claim {
            worker: *worker,
            lane: LaneId(0),
            fan: None,
            free_slots: SLOTS,
            prefetch: 0,
        };
        let claims = workers.iter().map(claim).collect();
        let began = Instant::now();
        let answers = table.store.claim(table.stamp(), claims).await?;
        self.claims.note(began);
        self.claiming += began.elapsed();
        let mut held = Vec::new();
        for (worker, offers) in workers.iter().zip(answers) {
            held.extend(offers?.into_iter().map(|offer| (*worker, offer)));
        }
        self.claimed += held.len();
        Ok(held)
    }

    async fn complete(&mut self, table: &Table, held: &[(WorkerId, Offer)]) -> Result<()> {
        let commits = held.iter().map(|(worker, offer)| commit(*worker, offer)).collect();
        let began = Instant::now();
        let answers = table.store.complete(table.stamp(), commits).await?;
        self.commits.note(began);
        self.committing += began.elapsed();
        for answer in answers {
            answer?;
        }
        self.committed += held.len();
        Ok(())
    }

    fn told(&self, sheet: &mut Sheet<'_>, batch: usize) {
        let rate = |count: usize, time: Duration| count as f64 / time.as_secs_f64();
        let of = |what: &str| format!("store: {what} of {batch} in a transaction");
        sheet.note(of("claims"), rate(self.claimed, self.claiming), "jobs/s");
        sheet.latencies(&of("claims"), &self.claims, None);
        sheet.note(of("completions"), rate(self.committed, self.committing), "jobs/s");
        sheet.latencies(&of("completions"), &self.commits, None);
    }
}

fn commit(worker: WorkerId, offer: &Offer) -> Commit {
    let artifact = jobs::result(&offer.label);
    let blobs = vec![artifact.digest];
    let completion = Completion {
        role: "adapter".to_owned(),
        artifact,
        bytes: 100_000,
        metrics: jobs::metrics(),
        device_ms: 60_000,
        blobs,
    };
    Commit { worker, task: offer.task, completion }
}

/// Heartbeats of all workers, each with one job, in transactions of 256.
async fn beat(table: &Table, sheet: &mut Sheet<'_>, workers: &[WorkerId], time: Duration) -> Result<()> {
    let one =
        |worker: &WorkerId| Claim { worker: *worker, lane: LaneId(0), fan: None, free_slots: 1, prefetch: 0 };
    let answers = table.store.claim(table.stamp(), workers.iter().map(one).collect()).await?;
    let mut held = Vec::<(WorkerId, Task)>::new();
    for (worker, offers) in workers.iter().zip(answers) {
        held.extend(offers?.into_iter().map(|offer| (*worker, offer.task)));
    }
    let mut latencies = Latencies::default();
    let (mut beats, began) = (0, Instant::now());
    for batch in held.chunks(256).cycle() {
        if began.elapsed() >= time {
            break;
        }
        let beat = |(worker, task): &(WorkerId, Task)| Beat {
            worker: *worker,
            held: vec![Held { task: *task, running: true }],
            leaving: false,
        };
        let call = Instant::now();
        for told in table.store.heartbeat(table.stamp(), batch.iter().map(beat).collect()).await? {
            told?;
        }
        latencies.note(call);
        beats += batch.len();
    }
    let of = format!("store: heartbeats of {} in a transaction", held.len().min(256));
    sheet.note(&of, beats as f64 / began.elapsed().as_secs_f64(), "beats/s");
    sheet.latencies(&of, &latencies, None);
    Ok(())
}

async fn register(table: &Table, count: usize) -> Result<Vec<WorkerId>> {
    let mut workers = Vec::with_capacity(count);
    for n in 0..count {
        let session = NewSession {
            name: format!("statement-{n}"),
            incarnation: "1".to_owned(),
            host: format!("node-{n}"),
            version: "0".to_owned(),
            lanes: vec![Lane { id: LaneId(0), device: "cpu".to_owned() }],
            leaving: false,
        };
        workers.push(table.store.register(table.stamp(), session, Vec::new()).await?.worker);
    }
    Ok(workers)
}
