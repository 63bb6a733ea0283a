//! Planned sweeps, and selections of their jobs.

use std::collections::BTreeSet;

use proto::id::{Digest, JobId, JobKey, SweepId};

use super::Artifact;

/// A sweep as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSweep {
    /// What people call it; need not be unique.
    pub name: String,
    /// What it asks for. A live or succeeded sweep with an equal digest is joined.
    pub manifest_digest: Digest,
    /// Whose quota its jobs count against. A job shared by sweeps stays with the first owner.
    pub owner: String,
    /// Higher goes first. A job shared by sweeps takes the highest.
    pub priority: i32,
    /// Stage names in the order in which they run.
    pub stages: Vec<String>,
    /// Where its trace begins (W3C traceparent). Attempts at its jobs go on from there.
    pub trace: Option<String>,
    /// Jobs in the order in which results are shown; keys are unique, needs are among them.
    pub jobs: Vec<NewJob>,
}

/// A job as planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its identity across sweeps.
    pub key: JobKey,
    /// What kind of work it is.
    pub kind: String,
    /// The stage it belongs to.
    pub stage: String,
    /// What people call it.
    pub label: String,
    /// Its spec as JSON, opaque here.
    pub spec: String,
    /// Its inputs; names are unique.
    pub inputs: Vec<NewInput>,
    /// Jobs with equal fans may share a lane. A job without one is a result in itself and listed with its sweep.
    pub fan: Option<Digest>,
    /// How a lane runs the fan, as JSON, opaque here.
    pub fan_limits: Option<String>,
    /// Whether it goes before others of its priority, as the first tool of its category: so that an evaluation can start early.
    pub coverage: bool,
    /// How many of its optional inputs it may go on without, once the jobs that should have made them have failed. The least of the
    /// live sweeps that share it.
    pub may_miss: u32,
    /// Expected work in tokens.
    pub tokens: u64,
}

/// An input of a planned job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInput {
    /// The name under which the job reads it.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// Whether the job can be computed without it.
    pub optional: bool,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An artifact that exists already.
    Artifact(Artifact),
    /// The artifact that another job of the sweep commits.
    Job(JobKey),
}

/// A recorded sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The sweep.
    pub sweep: SweepId,
    /// Whether it was there before.
    pub joined: bool,
}

/// A sweep, or some jobs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The sweep.
    pub sweep: SweepId,
    /// Only these jobs; empty for all.
    pub jobs: Vec<JobId>,
}

impl NewJob {
    /// The jobs whose artifacts it reads, each once.
    pub fn needs(&self) -> BTreeSet<JobKey> {
        let needs = self.inputs.iter().filter_map(|input| match input.source {
            Source::Job(key) => Some(key),
            Source::Artifact(_) => None,
        });
        needs.collect()
    }
}
