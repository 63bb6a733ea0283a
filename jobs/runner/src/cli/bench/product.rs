//! `runner bench product`: how fast the product of all projections is on a device.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::ensure;
use burn::tensor::{Distribution, FloatDType, Tensor};
use clap::Parser;
use jobs_lm::device;
use jobs_lm::ops::linear::{Way, product};
use jobs_spec::model::Precision;
use serde::Serialize;

use super::tell;

/// Products before the first that counts: the device chooses and compiles its kernels.
const WARM_UP: usize = 3;
/// Products that count.
const TIMES: usize = 15;

/// `[rows, depth]` by `[depth, width]`.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Rows of the left matrix.
    #[arg(long)]
    rows: usize,
    /// Columns of the left matrix, rows of the right one.
    #[arg(long)]
    depth: usize,
    /// Columns of the right matrix.
    #[arg(long)]
    width: usize,
    /// The numbers: `f32` or `bf16`.
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
    /// The device: `cpu` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print one JSON line.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Measured {
    /// Median of several.
    seconds: f64,
    tflops: f64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Args { rows, depth, width, precision, json, .. } = *args;
    ensure!(rows > 0 && depth > 0 && width > 0, "--rows, --depth and --width must be at least 1");
    let device = device::parse(&args.device)?;
    device.seed(0);
    let matrix = |dims: [usize; 2]| {
        let drawn = Tensor::<2>::random(dims, Distribution::Normal(0.0, 1.0), &device);
        match precision {
            Precision::F32 => drawn,
            Precision::Bf16 => drawn.cast(FloatDType::BF16),
        }
    };
    let (x, w) = (matrix([rows, depth]), matrix([depth, width]));
    let mut seconds = Vec::with_capacity(TIMES);
    for time in 0..WARM_UP + TIMES {
        device.sync()?;
        let started = Instant::now();
        let product = product(&x, &w, Way::Backward);
        device.sync()?;
        drop(product);
        if time >= WARM_UP {
            seconds.push(started.elapsed().as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    let seconds = seconds[TIMES / 2];
    let tflops = 2.0 * (rows * depth) as f64 * width as f64 / seconds / 1e12;
    tell(json, &Measured { seconds, tflops }, |m| {
        format!("{:.3} ms, {:.3} TFLOP/s", m.seconds * 1e3, m.tflops)
    })?;
    Ok(ExitCode::SUCCESS)
}
