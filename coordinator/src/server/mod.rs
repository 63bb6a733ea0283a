//! The gRPC services: transport only. They decode a call, hand it to the job table or the planner, and encode the answer.

mod batch;
mod change;
mod context;
mod decode;
mod encode;
mod fleet;
mod logs;
mod operator;
pub mod planner;
pub(crate) mod probe;
mod refuse;
mod select;
mod submit;
mod traced;
mod upkeep;

pub use context::Settings;
pub use submit::preview;

pub(crate) use context::Context;
pub(crate) use fleet::FleetService;
pub(crate) use operator::OperatorService;
