//! The six benchmark categories that every method is scored on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A category of the Berkeley function-calling leaderboard that has gold calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Several candidate tools, one call.
    Multiple,
    /// One candidate tool, several calls.
    Parallel,
    /// Several candidate tools, several calls.
    ParallelMultiple,
    /// [`Category::Multiple`] as real users wrote it.
    LiveMultiple,
    /// [`Category::Parallel`] as real users wrote it.
    LiveParallel,
    /// [`Category::ParallelMultiple`] as real users wrote it.
    LiveParallelMultiple,
}

impl Category {
    /// All six, in the order of the paper's tables.
    pub const ALL: [Self; 6] = [
        Self::Multiple,
        Self::Parallel,
        Self::ParallelMultiple,
        Self::LiveMultiple,
        Self::LiveParallel,
        Self::LiveParallelMultiple,
    ];

    /// The name in files and manifests.
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

    /// Whether real users wrote the requests.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::LiveMultiple | Self::LiveParallel | Self::LiveParallelMultiple)
    }

    /// Whether an entry wants several calls.
    pub const fn is_parallel(self) -> bool {
        !matches!(self, Self::Multiple | Self::LiveMultiple)
    }

    /// Whether the agent loop asks for one step's calls at a time, each target ending in a status mark.
    pub const fn is_multi_step(self) -> bool {
        matches!(self, Self::ParallelMultiple | Self::LiveParallelMultiple)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no category.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a category (multiple, parallel, parallel_multiple, live_multiple, live_parallel, live_parallel_multiple)"
)]
pub struct UnknownCategory(pub String);

impl FromStr for Category {
    type Err = UnknownCategory;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|c| c.name() == text).ok_or_else(|| UnknownCategory(text.to_owned()))
    }
}
