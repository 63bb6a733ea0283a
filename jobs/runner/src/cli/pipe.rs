//! `runner pipe`: what a worker starts for each device.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use jobs_lm::device;
use proto::pipe::FromRunner;

use crate::kinds;
use crate::lane::Lane;
use crate::{memory, pipe};

/// Serve a worker over standard input and output.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The device to drive: `cpu` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Seconds between checkpoints of a job. Results do not depend on it.
    #[arg(long, default_value_t = 20.0, env = "QUIVER_CHECKPOINT_SECONDS")]
    checkpoint_seconds: f64,
    /// Bytes of memory that the lane may use; what is free at its start by default. Results do not depend on it.
    #[arg(long, env = "QUIVER_LANE_MEMORY")]
    memory: Option<u64>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = device::parse(&args.device)?;
    let every = Duration::try_from_secs_f64(args.checkpoint_seconds)?;
    let memory = args.memory.or_else(|| memory::available(&args.device));
    let mut lane = Lane::new(device, every, memory, pipe::commands());
    lane.pipe.send(&FromRunner::Hello {
        device: args.device.clone(),
        kinds: kinds::NAMES.map(str::to_owned).to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });
    lane.serve();
    Ok(ExitCode::SUCCESS)
}
