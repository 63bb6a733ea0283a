//! Runs one simulation: the coordinators' and workers' own code on a simulated network, with a table and an object store in memory, and
//! faults that a seed decides. A process runs one seed, so that the seed decides everything in it.
//!
//!     sim SEED [--planted]
//!
//! Prints the trace. Exit code 1 when a rule is broken.

mod end;
mod history;
mod hosts;
mod machine;
mod net;
mod objects;
mod plan;
mod planted;
mod run;
mod runner;
mod table;
mod throne;
mod weather;
mod world;

use std::io::Write;
use std::process::ExitCode;

use world::World;

fn main() -> ExitCode {
    let mut out = std::io::stdout();
    match simulate(std::env::args().skip(1).collect()) {
        Ok((trace, Ok(()))) => {
            drop(out.write_all(trace.as_bytes()));
            ExitCode::SUCCESS
        }
        Ok((trace, Err(broken))) => {
            drop(out.write_all(trace.as_bytes()));
            drop(writeln!(std::io::stderr(), "error: {broken}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Gives the trace, and the rule that was broken.
fn simulate(args: Vec<String>) -> anyhow::Result<(String, Result<(), String>)> {
    let planted = args.iter().any(|arg| arg == "--planted");
    let seed: u64 = args.first().ok_or_else(|| anyhow::anyhow!("usage: sim SEED [--planted]"))?.parse()?;
    let dir = tempfile::tempdir()?;
    machine::set_seed(seed);
    let world = World::new(seed, planted).map_err(anyhow::Error::msg)?;
    let seen = std::sync::Arc::clone(&world);
    std::panic::set_hook(Box::new(move |panic| seen.break_off(format!("panic: {panic}"))));
    let ran = run::run(seed, &world, dir.path());
    Ok((world.trace(), ran))
}
