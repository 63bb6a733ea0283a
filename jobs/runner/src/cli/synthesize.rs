//! `runner synthesize`: traces and held-out entries from authored tools, without any model.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use jobs_data::toolbox::{self, Options};

/// Make traces and held-out entries from tool definitions. The same file and seed give the same bytes.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// A JSON list of tools: `name`, `description`, `parameters` and `phrasings`, sentences with `{parameter}` for values.
    tools: PathBuf,
    /// The folder that receives `<category>.jsonl` and `entries/`.
    #[arg(long)]
    out: PathBuf,
    /// Seed of values, wordings and distractors.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Traces of each tool in each category; 56 by default.
    #[arg(long)]
    traces: Option<usize>,
    /// Held-out entries of each category.
    #[arg(long)]
    entries: Option<usize>,
    /// Print the counts as one JSON line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut options = Options::default();
    options.traces = args.traces.unwrap_or(options.traces);
    options.entries = args.entries.unwrap_or(options.entries);
    let made = toolbox::generate(&args.tools, &args.out, args.seed, &options)?;
    let mut stdout = std::io::stdout();
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&made)?)?;
    } else {
        let toolbox::Generated { tools, traces, entries, bytes } = made;
        writeln!(stdout, "{tools} tools, {traces} traces, {entries} held-out entries, {bytes} bytes")?;
    }
    Ok(ExitCode::SUCCESS)
}
