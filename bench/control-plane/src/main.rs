//! Measures the control plane on this machine: one run, a table for people and JSON for programs. `bench/control-plane/run` builds what
//! it needs, starts Postgres and calls it.

mod coordinator;
mod database;
mod fleet;
mod jobs;
mod lanes;
mod latency;
mod operate;
mod peer;
mod report;
mod statements;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, ValueEnum};

use coordinator::Coordinator;
use database::{Database, Kind};
use report::{Goal, Report, Sheet};

/// Measures the control plane.
#[derive(Debug, Parser)]
struct Args {
    /// Measure only this; may be given more than once.
    #[arg(long, value_enum)]
    only: Vec<Scenario>,
    /// Measure only over this database; may be given more than once.
    #[arg(long, value_enum)]
    database: Vec<Kind>,
    /// Small sizes: shows that everything runs, in seconds. The figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Write all figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// The job table alone.
    Statements,
    /// A thousand workers over gRPC, and the coordinator's memory.
    Fleet,
    /// Claims and completions as fast as they go, beside graphile-worker.
    Peer,
    /// `status`.
    Status,
    /// `plan` and `submit` of ten thousand tools.
    Submit,
    /// The time between two jobs of a lane.
    Idle,
    /// A dead worker, a restarted coordinator, a standby.
    Recovery,
}

/// How much is measured.
struct Sizes {
    tables: &'static [u64],
    workers: usize,
    tools: usize,
    /// Of one measurement.
    time: Duration,
    /// Of one job of the fleet.
    job: Duration,
    peer_jobs: usize,
    idle_jobs: usize,
    statuses: usize,
    /// After which a restarted coordinator must be quick.
    outages: &'static [Duration],
}

const FULL: Sizes = Sizes {
    tables: &[100_000, 1_000_000],
    workers: 1_000,
    tools: 10_000,
    time: Duration::from_secs(10),
    job: Duration::from_secs(10),
    peer_jobs: 100_000,
    idle_jobs: 600,
    statuses: 50,
    outages: &[Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)],
};

const QUICK: Sizes = Sizes {
    tables: &[20_000],
    workers: 50,
    tools: 40,
    time: Duration::from_millis(500),
    job: Duration::from_millis(200),
    peer_jobs: 1_000,
    idle_jobs: 20,
    statuses: 3,
    outages: &[Duration::from_millis(100)],
};

/// Lanes whose idle gaps are measured.
const LANES: usize = 4;
/// Workers that are killed.
const VICTIMS: usize = 4;

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let began = Instant::now();
    let mut bench = Bench {
        report: Report::new(date().await?, args.quick),
        sizes: if args.quick { QUICK } else { FULL },
        wanted: Wanted(args.only),
        quick: args.quick,
        done: Vec::new(),
    };
    let kinds = if args.database.is_empty() { vec![Kind::Sqlite, Kind::Postgres] } else { args.database };
    for kind in kinds {
        bench.over(kind).await?;
    }
    writeln!(std::io::stdout().lock(), "{}", bench.report.table())?;
    tell(&format!("{} s", began.elapsed().as_secs()));
    args.json.map_or(Ok(()), |path| bench.report.write(&path))
}

struct Bench {
    report: Report,
    sizes: Sizes,
    wanted: Wanted,
    quick: bool,
    /// Databases that are done with. Their folders go at the end: ext4 makes files slowly for minutes after many were deleted.
    done: Vec<Database>,
}

/// What is to be measured; all where nothing is named.
struct Wanted(Vec<Scenario>);

impl Wanted {
    fn holds(&self, scenario: Scenario) -> bool {
        self.0.is_empty() || self.0.contains(&scenario)
    }
}

impl Bench {
    /// Everything over one kind of database.
    async fn over(&mut self, kind: Kind) -> Result<()> {
        use Scenario::{Fleet, Idle, Peer, Recovery, Statements, Status, Submit};
        if [Statements, Fleet, Peer, Status, Submit].into_iter().any(|scenario| self.wanted.holds(scenario)) {
            self.large(kind).await?;
        }
        if self.wanted.holds(Idle) {
            let mut sheet = self.report.sheet(kind.name(), self.sizes.idle_jobs as u64);
            lanes::idle(&Database::new(kind).await?, &mut sheet, LANES, self.sizes.idle_jobs).await?;
        }
        if self.wanted.holds(Recovery) {
            let mut sheet = self.report.sheet(kind.name(), 0);
            lanes::restart(&Database::new(kind).await?, &mut sheet, self.sizes.outages).await?;
            if !self.quick {
                lanes::death(&Database::new(kind).await?, &mut sheet, VICTIMS).await?;
                if kind == Kind::Postgres {
                    lanes::takeover(&Database::new(kind).await?, &mut sheet).await?;
                }
            }
        }
        Ok(())
    }

    /// What depends on how large the table is.
    async fn large(&mut self, kind: Kind) -> Result<()> {
        let database = Database::new(kind).await?;
        let mut have = 0;
        for size in self.sizes.tables.iter().copied() {
            let last = Some(&size) == self.sizes.tables.last();
            self.grow(&database, have, size).await?;
            have = size;
            let coordinator = Coordinator::start(&database).await?;
            let (sizes, time) = (&self.sizes, self.sizes.time);
            let wanted = &self.wanted;
            let mut sheet = self.report.sheet(kind.name(), size);
            if wanted.holds(Scenario::Peer) {
                let rate = fleet::exchange(&coordinator, &mut sheet, "alone", time).await?;
                if kind == Kind::Postgres {
                    beside_peer(&mut sheet, rate, sizes.peer_jobs).await?;
                }
            }
            if wanted.holds(Scenario::Fleet) {
                let mut fleet = fleet::Fleet::start(&coordinator, sizes.workers, sizes.job).await?;
                tokio::time::sleep(sizes.job).await;
                fleet.measure(&mut sheet, time).await?;
                fleet::exchange(&coordinator, &mut sheet, "beside the fleet", time).await?;
            }
            if wanted.holds(Scenario::Status) {
                operate::status(&coordinator, &mut sheet, sizes.statuses).await?;
            }
            if last && wanted.holds(Scenario::Submit) {
                operate::submit(&coordinator, &mut sheet, &database.folder(), sizes.tools).await?;
            }
            memory(&coordinator, &mut sheet)?;
            coordinator.stop().await?;
        }
        self.done.push(database);
        Ok(())
    }

    /// Fills a table up and measures the statements on it.
    async fn grow(&mut self, database: &Database, have: u64, size: u64) -> Result<()> {
        let table = database.open().await?;
        let began = Instant::now();
        jobs::fill(&table, have, size).await?;
        let mut sheet = self.report.sheet(database.kind.name(), size);
        let rate = (size - have) as f64 / began.elapsed().as_secs_f64();
        sheet.note("store: submission of sweeps of 50000", rate, "jobs/s");
        if self.wanted.holds(Scenario::Statements) {
            statements::measure(&table, &mut sheet, self.sizes.workers, self.sizes.time).await?;
        }
        table.close().await
    }
}

/// Holds a rate against graphile-worker's at the same batch size and concurrency.
async fn beside_peer(sheet: &mut Sheet<'_>, rate: f64, jobs: usize) -> Result<()> {
    let peer = peer::measure(sheet, jobs / 4, fleet::BATCH as usize, fleet::BUSY).await?;
    sheet.hold("claim and complete, ratio to graphile-worker", rate / peer, "×", Goal::AtLeast(1.5));
    Ok(())
}

fn memory(coordinator: &Coordinator, sheet: &mut Sheet<'_>) -> Result<()> {
    let (now, largest) = coordinator.memory()?;
    sheet.note("memory of the coordinator at the end", now, "MiB");
    sheet.hold("memory of the coordinator at its largest", largest, "MiB", Goal::AtMost(500.0));
    Ok(())
}

/// Today, as people write it.
async fn date() -> Result<String> {
    let output = tokio::process::Command::new("date").arg("--iso-8601=minutes").output().await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes one line for people to standard error, where nothing can be done about a failure.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
