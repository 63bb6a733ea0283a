//! What a running stage tells and asks the runner that drives it.

use std::path::{Path, PathBuf};

use crate::Failure;

/// The runner's side of a stage. A stage calls these between its steps.
pub trait Progress {
    /// `step` of `total` steps are done; `tokens` were computed so far by this run.
    fn step(&mut self, step: u64, total: u64, tokens: u64, loss: Option<f64>);

    /// Whether to end with [`Failure::Stopped`] now.
    fn should_stop(&mut self) -> bool;

    /// Whether to write a checkpoint now.
    fn checkpoint_due(&mut self) -> bool;

    /// The folder for the checkpoint of a step; the stage creates it.
    fn checkpoint_folder(&self, step: u64) -> PathBuf;

    /// The checkpoint of a step lies complete in its folder.
    fn checkpointed(&mut self, step: u64, folder: PathBuf);
}

/// Nobody watches, nobody stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn step(&mut self, _: u64, _: u64, _: u64, _: Option<f64>) {}

    fn should_stop(&mut self) -> bool {
        false
    }

    fn checkpoint_due(&mut self) -> bool {
        false
    }

    fn checkpoint_folder(&self, _: u64) -> PathBuf {
        PathBuf::new()
    }

    fn checkpointed(&mut self, _: u64, _: PathBuf) {}
}

/// The pause between two steps of a stage that can resume.
pub trait Checkpointing: Progress {
    /// Writes a checkpoint if one is due, then stops if asked to.
    ///
    /// # Errors
    /// [`Failure::Stopped`], or what `write` reports.
    fn pause(&mut self, step: u64, write: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure>;
}

impl<P: Progress + ?Sized> Checkpointing for P {
    fn pause(&mut self, step: u64, write: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
        if self.checkpoint_due() {
            let folder = self.checkpoint_folder(step);
            write(&folder)?;
            self.checkpointed(step, folder);
        }
        if self.should_stop() { Err(Failure::Stopped) } else { Ok(()) }
    }
}
