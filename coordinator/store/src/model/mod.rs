//! The plain values that go into the job table and come out of it.

mod fleet;
mod sweep;
mod upkeep;
mod view;

pub use fleet::{
    Beat, Claim, Commit, Completion, Ending, Held, Input, Lane, NewSession, Offer, RecordedCheckpoint,
    Registered, Told,
};
pub use sweep::{NewInput, NewJob, NewSweep, Selection, Source, Submitted};
pub use upkeep::{Bearer, NewToken, TokenView};
pub use view::{
    ArtifactView, EventView, FailureView, HeldView, JobFilter, JobPage, JobView, Newest, ResultView,
    StageView, SweepRow, SweepView, Totals, WorkerState, WorkerView,
};

use coordinator_core::time::Micros;
use proto::id::{Digest, Term};
use serde::{Deserialize, Serialize};

/// Who writes, and when. A write of another term than the table's is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The coordinator's term, as the caller knows it.
    pub term: Term,
    /// The time of the write.
    pub now: Micros,
}

/// An artifact: its manifest's key in the object store and that manifest's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The manifest's key in the object store.
    pub path: String,
    /// The manifest's SHA-256.
    pub digest: Digest,
}
