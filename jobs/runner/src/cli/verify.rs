//! `runner verify`: recomputes a reference folder and prints the largest difference per key.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::verify;

/// Recompute a reference folder (golden.json, golden.safetensors, model, adapters) and compare.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The folder.
    dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let report = verify::verify(&args.dir)?;
    let text = if args.json { serde_json::to_string(&report)? } else { report.to_string() };
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
