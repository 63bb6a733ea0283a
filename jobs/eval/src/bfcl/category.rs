//! The six BFCL categories that the evaluation covers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One category of the benchmark: one pair of data files and one way to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// One call, several candidate tools.
    Multiple,
    /// Several calls of one tool.
    Parallel,
    /// Several calls, several candidate tools.
    ParallelMultiple,
    /// `multiple` with queries of real users.
    LiveMultiple,
    /// `parallel` with queries of real users.
    LiveParallel,
    /// `parallel_multiple` with queries of real users.
    LiveParallelMultiple,
}

/// A category name outside the six.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown BFCL category {0:?}")]
pub struct UnknownCategory(pub String);

impl Category {
    /// All categories, non-live first; also the order of report columns.
    pub const ALL: [Self; 6] = [
        Self::Multiple,
        Self::Parallel,
        Self::ParallelMultiple,
        Self::LiveMultiple,
        Self::LiveParallel,
        Self::LiveParallelMultiple,
    ];

    /// The official name, as in file names and entry ids.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Multiple => "multiple",
            Self::Parallel => "parallel",
            Self::ParallelMultiple => "parallel_multiple",
            Self::LiveMultiple => "live_multiple",
            Self::LiveParallel => "live_parallel",
            Self::LiveParallelMultiple => "live_parallel_multiple",
        }
    }

    /// Whether the queries come from real users.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::LiveMultiple | Self::LiveParallel | Self::LiveParallelMultiple)
    }

    /// Whether an entry asks for several calls, checked in any order.
    pub const fn is_parallel(self) -> bool {
        !matches!(self, Self::Multiple | Self::LiveMultiple)
    }

    /// Whether calls are made step by step, with the earlier ones as history: several calls of several tools.
    pub const fn is_multi_step(self) -> bool {
        matches!(self, Self::ParallelMultiple | Self::LiveParallelMultiple)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Category {
    type Err = UnknownCategory;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|c| c.name() == name).ok_or_else(|| UnknownCategory(name.to_owned()))
    }
}
