//! `runner bench fan`: how fast adapters train on this machine.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use jobs_lm::decoder::Decoder;
use jobs_lora::{AdamW, Adapter, AdapterShape};
use jobs_spec::memory::Recompute;
use jobs_spec::model::Projection;
use jobs_train::fan::{Fan, FanConfig, SlotEvent, SlotTask, Start, TaskId};
use jobs_train::sample::Sample;
use jobs_train::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// Measure how fast this machine is.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Train one adapter per tool of a file of token ids: rank 16, alpha 64, gate, up and down, AdamW, one sample a step.
    Fan(Args),
}

/// Nothing but the speed, the losses and the memory of the training is of interest; the adapters are thrown away.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// A folder with `config.json` and weights; no tokenizer is needed.
    #[arg(long)]
    model: PathBuf,
    /// Lines `{"tool": name, "prompt": [ids], "completion": [ids]}`; each tool sees its lines in the order of the file.
    #[arg(long)]
    sequences: PathBuf,
    /// Adapters trained together.
    #[arg(long, default_value_t = 16)]
    slots: usize,
    /// Token budget of one shared pass.
    #[arg(long, default_value_t = 4096)]
    tokens_per_pass: usize,
    /// What passes compute again to save memory: `nothing`, `elementwise` or `layers`.
    #[arg(long, default_value_t = Recompute::Nothing)]
    recompute: Recompute,
    /// Passes over a tool's lines.
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Learning rate.
    #[arg(long, default_value_t = 1e-4)]
    lr: f64,
    /// The device: `cpu` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print one JSON line.
    #[arg(long)]
    json: bool,
}

/// One line of the sequences' file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    tool: String,
    prompt: Vec<u32>,
    completion: Vec<u32>,
}

/// What was measured. Loading is no part of `seconds`.
#[derive(Debug, Default, Serialize)]
struct Measured {
    engine: &'static str,
    device: String,
    slots: usize,
    load_seconds: f64,
    seconds: f64,
    steps: u64,
    /// Real tokens through the base, each counted once an epoch.
    tokens: usize,
    tokens_per_s: f64,
    steps_per_s: f64,
    passes: u64,
    mean_tokens_per_pass: f64,
    mean_last_epoch_loss: f64,
    /// Largest resident memory of the process so far, loading included; 0 where the system does not tell.
    peak_rss_bytes: u64,
}

pub(super) fn run(command: &Bench) -> anyhow::Result<ExitCode> {
    let Bench::Fan(args) = command;
    let measured = fan(args)?;
    let mut stdout = std::io::stdout();
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string(&measured)?)?;
    } else {
        let Measured { tokens, seconds, tokens_per_s, steps_per_s, mean_last_epoch_loss, .. } = measured;
        writeln!(
            stdout,
            "{tokens} tokens in {seconds:.2} s: {tokens_per_s:.0} tokens/s, {steps_per_s:.1} steps/s, \
             loss {mean_last_epoch_loss:.4}, {} MiB",
            measured.peak_rss_bytes >> 20
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn fan(args: &Args) -> anyhow::Result<Measured> {
    ensure!(args.slots > 0 && args.epochs > 0, "--slots and --epochs must be at least 1");
    let device = jobs_lm::device::parse(&args.device)?;
    let tools = read(&args.sequences)?;
    let started = Instant::now();
    let decoder = Arc::new(Decoder::load(&args.model, &device)?);
    let load_seconds = started.elapsed().as_secs_f64();
    let shape = AdapterShape::targeting(
        16,
        64.0,
        &[Projection::Gate, Projection::Up, Projection::Down],
        decoder.config(),
    )?;
    let shape = Arc::new(shape);
    let first = Adapter::init(&shape, 0);
    let mut waiting: VecDeque<SlotTask> = tools
        .into_iter()
        .map(|(tool, samples)| SlotTask {
            id: TaskId(tool),
            samples,
            epochs: args.epochs,
            seed: None,
            optimizer: AdamW { lr: args.lr, ..AdamW::default() },
            schedule: Schedule::default(),
            start: Start::Fresh(first.clone()),
        })
        .collect();
    let config =
        FanConfig { slots: args.slots, tokens_per_pass: args.tokens_per_pass, recompute: args.recompute };
    let mut fan = Fan::new(Arc::clone(&decoder), &shape, config);
    let mut measured = Measured {
        engine: "quiver",
        device: args.device.clone(),
        slots: args.slots,
        load_seconds,
        ..Measured::default()
    };
    let (mut last_epoch, mut last_losses) = (0.0, 0_usize);
    let started = Instant::now();
    loop {
        while fan.free_slots() > 0
            && let Some(task) = waiting.pop_front()
        {
            fan.start(task)?;
        }
        let events = fan.pass()?;
        if events.is_empty() {
            break;
        }
        measured.passes += 1;
        for event in events {
            match event {
                SlotEvent::Step { step, total, loss, tokens, .. } => {
                    measured.steps += 1;
                    measured.tokens += tokens;
                    if step > total - total / args.epochs as u64 {
                        last_epoch += f64::from(loss);
                        last_losses += 1;
                    }
                }
                SlotEvent::NonFinite { task, step, fault } => anyhow::bail!("{task}, step {step}: {fault}"),
                SlotEvent::Finished { .. } => {}
            }
        }
    }
    measured.seconds = started.elapsed().as_secs_f64();
    measured.tokens_per_s = measured.tokens as f64 / measured.seconds;
    measured.steps_per_s = measured.steps as f64 / measured.seconds;
    measured.mean_tokens_per_pass = measured.tokens as f64 / measured.passes as f64;
    measured.mean_last_epoch_loss = last_epoch / last_losses as f64;
    measured.peak_rss_bytes = peak_rss_bytes();
    Ok(measured)
}

/// Every tool's samples in the order of the file.
fn read(path: &Path) -> anyhow::Result<BTreeMap<String, Vec<Sample>>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut tools: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}:{}", path.display(), index + 1);
        let line: Line = serde_json::from_str(&line.with_context(place)?).with_context(place)?;
        let Line { tool, prompt, completion } = line;
        tools.entry(tool).or_default().push(Sample { prompt, completion });
    }
    ensure!(!tools.is_empty(), "{}: no line", path.display());
    Ok(tools)
}

/// Largest resident memory of this process so far, as Linux counts it.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
    peak.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or_default() << 10
}
