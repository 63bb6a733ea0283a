//! The gRPC services: transport only. They decode a call, hand it to the job table or the planner, and encode the answer.

pub mod planner;
