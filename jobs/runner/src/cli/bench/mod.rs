//! `runner bench`: measurements and checks of this machine, one file each.

mod fan;
mod gates;
mod product;

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

/// Measure how fast this machine is.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Train one adapter per tool of a file of token ids: rank 16, alpha 64, gate, up and down, AdamW, one sample a step.
    Fan(fan::Args),
    /// Check a device before it is trusted: gradients against the CPU's, and that nothing goes on after a number that is not finite.
    Gates(gates::Args),
    /// Multiply two matrices.
    Product(product::Args),
}

pub(super) fn run(command: &Bench) -> anyhow::Result<ExitCode> {
    match command {
        Bench::Fan(args) => fan::run(args),
        Bench::Gates(args) => gates::run(args),
        Bench::Product(args) => product::run(args),
    }
}

/// One line, as JSON or for people.
fn tell<T: Serialize>(json: bool, measured: &T, people: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    let line = if json { serde_json::to_string(measured)? } else { people(measured) };
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
