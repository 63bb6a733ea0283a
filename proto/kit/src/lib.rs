//! What coordinator and worker do alike: configuration layers, telemetry, traces, figures for monitors, retry, clocks.

pub mod address;
pub mod clock;
pub mod config;
pub mod host;
pub mod human;
pub mod manual;
pub mod monitor;
pub mod offload;
pub mod retry;
pub mod telemetry;
pub mod trace;
