//! `runner bench gates`: what must hold on a device before its training is trusted.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use jobs_lm::batch::PackedBatch;
use jobs_lm::decoder::Decoder;
use jobs_lm::device::{self, Device};
use jobs_lora::{AdamW, Adapter, AdapterShape, Bank, RoutedBank, Routing};
use jobs_spec::manifest::BaseTraining;
use jobs_spec::memory::Recompute;
use jobs_spec::model::{Precision, Projection};
use jobs_train::fan::{Fan, FanConfig, SlotEvent, SlotTask, Start, TaskId};
use jobs_train::sample::Sample;
use jobs_train::schedule::Schedule;
use serde::Serialize;

use super::tell;

/// Tokens of the segments of the pass that is compared.
const LENGTHS: [usize; 4] = [1, 7, 64, 300];
/// Largest distance of a slot's gradient from the CPU's, relative to its length.
const LIMITS: [(Precision, f64); 2] = [(Precision::F32, 1e-3), (Precision::Bf16, 5e-2)];

/// One line a gate.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The device: `cpu` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Gate {
    gate: String,
    value: f64,
    limit: f64,
    passed: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = device::parse(&args.device)?;
    let mut all = true;
    let mut gate = |gate: String, value: f64, limit: f64| -> anyhow::Result<()> {
        let passed = value <= limit;
        all &= passed;
        tell(args.json, &Gate { gate, value, limit, passed }, |Gate { gate, value, limit, passed }| {
            let verdict = if *passed { "holds" } else { "FAILS" };
            format!("{gate}: {verdict} ({value:.2e}, limit {limit:.0e})")
        })
    };
    let truth = gradients(&base(&Device::flex()))?;
    for (precision, limit) in LIMITS {
        let found = gradients(&base(&device).cast(precision))?;
        let worst = truth.iter().zip(&found).map(|(truth, found)| distance(truth, found));
        gate(format!("gradients {precision}"), worst.fold(0.0, f64::max), limit)?;
    }
    gate("non-finite".to_owned(), f64::from(u8::from(!stops_at_non_finite(&device)?)), 0.0)?;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A base of a size that no kernel treats specially; its weights are the same on every device.
fn base(device: &Device) -> Decoder {
    let sizes = BaseTraining { hidden: 192, layers: 3, feed_forward: 520, ..BaseTraining::default() };
    Decoder::init(sizes.model(1024), 5, device)
}

fn shape(base: &Decoder) -> anyhow::Result<Arc<AdapterShape>> {
    let targets = [Projection::Q, Projection::Gate, Projection::Up, Projection::Down];
    Ok(Arc::new(AdapterShape::targeting(16, 64.0, &targets, base.config())?))
}

/// An adapter neither of whose matrices is zero.
fn adapter(shape: &Arc<AdapterShape>, seed: u64) -> Adapter {
    let (mut adapter, other) = (Adapter::init(shape, seed), Adapter::init(shape, seed + 100));
    let drawn: Vec<f32> = other.values().iter().copied().filter(|x| *x != 0.0).collect();
    for (value, drawn) in adapter.values_mut().iter_mut().zip(drawn.iter().cycle()) {
        *value = if *value == 0.0 { *drawn } else { *value };
    }
    adapter
}

fn ids(count: usize, seed: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|at| ((at + 1) * (seed + 13) * 7919 % vocabulary) as u32).collect()
}

/// Gradients of one pass, one slot a segment.
fn gradients(base: &Decoder) -> anyhow::Result<Vec<Vec<f32>>> {
    let shape = shape(base)?;
    let mut bank = Bank::new(&shape, base.device());
    let (mut batch, mut routing, mut slots) = (PackedBatch::new(), Routing::new(), Vec::new());
    for (seed, length) in LENGTHS.into_iter().enumerate() {
        let slot = bank.insert(adapter(&shape, seed as u64))?;
        let ids = ids(length + 3, seed, base.config().vocab_size);
        let start = batch.tokens();
        batch.push(&ids[..length], &ids[length..]);
        routing.push(start..batch.tokens(), vec![(slot, 1.0)]);
        slots.push(slot);
    }
    let mut routed = RoutedBank::new(&bank, &routing)?;
    base.train_pass(&batch, &mut routed, None);
    let gradients = routed.into_gradients();
    Ok(slots.into_iter().map(|slot| gradients.flat(slot, &shape)).collect())
}

fn distance(truth: &[f32], found: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let apart: f64 = truth.iter().zip(found).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let length: f64 = truth.iter().map(|a| square(f64::from(*a))).sum();
    let relative = (apart / length).sqrt();
    if relative.is_finite() { relative } else { f64::INFINITY }
}

/// Whether a fan stops the task whose adapter holds a number that is not finite, and no other.
fn stops_at_non_finite(device: &Device) -> anyhow::Result<bool> {
    let base = Arc::new(base(device));
    let shape = shape(&base)?;
    let config = FanConfig { slots: 2, tokens_per_pass: 64, recompute: Recompute::Nothing };
    let mut fan = Fan::new(Arc::clone(&base), &shape, config);
    for name in ["sound", "poisoned"] {
        let mut first = adapter(&shape, 1);
        if name == "poisoned" {
            *first.values_mut().first_mut().context("an adapter without numbers")? = f32::NAN;
        }
        let ids = ids(12, 3, base.config().vocab_size);
        fan.start(SlotTask {
            id: TaskId(name.to_owned()),
            samples: vec![Sample { prompt: ids[..9].to_vec(), completion: ids[9..].to_vec() }],
            epochs: 2,
            seed: None,
            optimizer: AdamW::default(),
            schedule: Schedule::default(),
            start: Start::Fresh(first),
        })?;
    }
    let events = fan.pass()?;
    let stopped: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            SlotEvent::NonFinite { task, .. } => Some(task.0.as_str()),
            SlotEvent::Step { .. } | SlotEvent::Finished { .. } => None,
        })
        .collect();
    Ok(stopped == ["poisoned"])
}
