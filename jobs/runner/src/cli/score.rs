//! `runner score bfcl`: verdicts and accuracies of model outputs by the official rules.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Score model outputs.
#[derive(Debug, Subcommand)]
pub(super) enum Score {
    /// By the decoder and checker of the Berkeley function-calling leaderboard.
    Bfcl(Args),
}

/// Reads lines `{id, category, model_output}`; writes lines `{id, category, verdict, error_type}` in the same order to standard
/// output and the accuracies to standard error, or with `--json` as a last line to standard output.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Folder with `BFCL_v4_<category>.json` and `possible_answer/`.
    #[arg(long)]
    prompts: PathBuf,
    /// The outputs, JSON lines.
    #[arg(long)]
    outputs: PathBuf,
    /// Print the summary as one JSON line at the end.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &Score) -> anyhow::Result<ExitCode> {
    let Score::Bfcl(args) = command;
    let name = args.outputs.display().to_string();
    let file = File::open(&args.outputs).with_context(|| name.clone())?;
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    let summary = jobs_eval::score::score_file(&args.prompts, &name, BufReader::new(file), &mut stdout)?;
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&summary)?)?;
    } else {
        stdout.flush()?;
        let mut stderr = std::io::stderr().lock();
        for (category, tally) in &summary.categories {
            let percent = 100.0 * tally.accuracy().unwrap_or_default();
            writeln!(
                stderr,
                "{:<24} {:>5} of {:>5}  {percent:6.2} %",
                category.name(),
                tally.correct,
                tally.total
            )?;
        }
        for (mean, value) in [("unweighted", summary.unweighted), ("weighted by entries", summary.weighted)] {
            writeln!(stderr, "mean, {mean:<19} {:>14} {:6.2} %", "", 100.0 * value.unwrap_or_default())?;
        }
    }
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}
