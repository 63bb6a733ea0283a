//! `runner bench fan`: how fast adapters train on this machine.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Parser;
use jobs_lm::decoder::Decoder;
use jobs_lm::device;
use jobs_lora::{AdamW, Adapter, AdapterShape};
use jobs_spec::memory::{Bytes, FanSizes, Recompute};
use jobs_spec::model::{ModelConfig, Precision, Projection};
use jobs_train::fan::{Fan, FanConfig, SlotEvent, SlotTask, Start, TaskId};
use jobs_train::sample::Sample;
use jobs_train::schedule::Schedule;
use serde::{Deserialize, Serialize};

use super::tell;
use crate::memory;

/// Rank of the adapters.
const RANK: usize = 16;

/// Nothing but the speed, the losses and the memory of the training is of interest; the adapters are thrown away.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// A folder with `config.json` and weights; no tokenizer is needed.
    #[arg(long)]
    model: PathBuf,
    /// Leave the weights and let the device draw some from this seed.
    #[arg(long, value_name = "SEED")]
    random: Option<u64>,
    /// The base's numbers: `f32` or `bf16`; the device's own by default.
    #[arg(long)]
    precision: Option<Precision>,
    /// Lines `{"tool": name, "prompt": [ids], "completion": [ids]}`; each tool sees its lines in the order of the file.
    #[arg(long)]
    sequences: PathBuf,
    /// Adapters trained together.
    #[arg(long, default_value_t = 16)]
    slots: usize,
    /// Token budget of one shared pass.
    #[arg(long, default_value_t = 4096)]
    tokens_per_pass: usize,
    /// What passes compute again to save memory: `nothing`, `elementwise` or `layers`; by default as little as the memory plan allows.
    #[arg(long)]
    recompute: Option<Recompute>,
    /// Bytes of memory that the fan may use; what is free at its start by default.
    #[arg(long, env = "QUIVER_LANE_MEMORY")]
    memory: Option<u64>,
    /// Passes over a tool's lines.
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Passes before the first that is measured.
    #[arg(long, default_value_t = 0)]
    warm_up: u64,
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
    precision: &'static str,
    recompute: &'static str,
    /// What the memory plan says that all of it takes at its peak.
    planned_bytes: u64,
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

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    tell(args.json, &measure(args)?, |measured| {
        let Measured { tokens, seconds, tokens_per_s, steps_per_s, mean_last_epoch_loss, .. } = measured;
        format!(
            "{tokens} tokens in {seconds:.2} s: {tokens_per_s:.0} tokens/s, {steps_per_s:.1} steps/s, \
             loss {mean_last_epoch_loss:.4}, {} of {} planned, recompute {}",
            Bytes(measured.peak_rss_bytes),
            Bytes(measured.planned_bytes),
            measured.recompute,
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn measure(args: &Args) -> anyhow::Result<Measured> {
    ensure!(args.slots > 0 && args.epochs > 0, "--slots and --epochs must be at least 1");
    let device = device::parse(&args.device)?;
    let memory = args.memory.or_else(|| memory::available(&args.device));
    let tools = read(&args.sequences)?;
    let precision = args.precision.unwrap_or_else(|| device::precision(&device));
    let config = ModelConfig::from_dir(&args.model)?;
    let sizes = FanSizes {
        model: &config,
        rank: RANK,
        slots: args.slots,
        tokens_per_pass: args.tokens_per_pass,
        longest: tools.values().flatten().map(Sample::tokens).max().unwrap_or(0),
        engine: device::engine(&device),
    };
    let recompute = args.recompute.map_or_else(|| memory::policy(&sizes, memory), Ok)?;
    let started = Instant::now();
    let decoder = match args.random {
        Some(seed) => Decoder::drawn(config.clone(), seed, &device, precision),
        None => Decoder::load_as(&args.model, &device, precision)?,
    };
    let mut measured = Measured {
        engine: "quiver",
        device: args.device.clone(),
        slots: args.slots,
        precision: precision.name(),
        recompute: recompute.name(),
        planned_bytes: sizes.total(recompute),
        load_seconds: started.elapsed().as_secs_f64(),
        ..Measured::default()
    };
    train(args, Arc::new(decoder), recompute, tools, &mut measured)?;
    measured.tokens_per_s = measured.tokens as f64 / measured.seconds;
    measured.steps_per_s = measured.steps as f64 / measured.seconds;
    measured.mean_tokens_per_pass = measured.tokens as f64 / measured.passes as f64;
    measured.peak_rss_bytes = memory::peak();
    Ok(measured)
}

/// Trains all tools and counts.
fn train(
    args: &Args,
    decoder: Arc<Decoder>,
    recompute: Recompute,
    tools: BTreeMap<String, Vec<Sample>>,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let targets = [Projection::Gate, Projection::Up, Projection::Down];
    let shape = Arc::new(AdapterShape::targeting(RANK, 64.0, &targets, decoder.config())?);
    let mut waiting = tools.into_iter().collect::<VecDeque<_>>();
    let config = FanConfig { slots: args.slots, tokens_per_pass: args.tokens_per_pass, recompute };
    let mut fan = Fan::new(decoder, &shape, config);
    let (mut last_epoch, mut last_losses, mut passes) = (0.0, 0_usize, 0);
    let mut started = Instant::now();
    loop {
        while fan.free_slots() > 0
            && let Some((tool, samples)) = waiting.pop_front()
        {
            fan.start(SlotTask {
                id: TaskId(tool),
                samples,
                epochs: args.epochs,
                seed: None,
                optimizer: AdamW { lr: args.lr, ..AdamW::default() },
                schedule: Schedule::default(),
                start: Start::Fresh(Adapter::init(&shape, 0)),
            })?;
        }
        if passes == args.warm_up {
            started = Instant::now();
        }
        let events = fan.pass()?;
        if events.is_empty() {
            break;
        }
        let counts = passes >= args.warm_up;
        passes += 1;
        measured.passes += u64::from(counts);
        for event in events {
            match event {
                SlotEvent::Step { step, total, loss, tokens, .. } => {
                    if counts {
                        measured.steps += 1;
                        measured.tokens += tokens;
                    }
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
    ensure!(measured.passes > 0, "--warm-up {}: the file has {passes} passes", args.warm_up);
    measured.seconds = started.elapsed().as_secs_f64();
    measured.mean_last_epoch_loss = last_epoch / last_losses as f64;
    Ok(())
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
