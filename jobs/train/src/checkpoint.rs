//! The state of a training at one step, and its file.
//!
//! The same state serves one adapter in a fan and a whole model: flat numbers, their moments and clock, the losses so far and the seed
//! of the sample order. A cursor or random state is not needed, since [`crate::sample::order`] gives both from seed and step.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use jobs_lora::Moments;
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

/// The file inside a checkpoint folder.
pub const FILE: &str = "state.safetensors";

const VERSION: u32 = 1;
/// The metadata entry that holds the header; one entry only, so that equal states give equal bytes.
const HEADER: &str = "quiver";

/// Everything that a training needs to go on as if it had never stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainState {
    /// What the numbers are: names and shapes in order, as their owner describes them.
    pub layout: String,
    /// Seed of the sample order.
    pub seed: u64,
    /// The trained numbers.
    pub values: Vec<f32>,
    /// Their moments and step clock.
    pub moments: Moments,
    /// The loss of every step so far.
    pub losses: Vec<f32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    layout: String,
    seed: u64,
    steps: u64,
}

/// Why a checkpoint cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("{}: {cause}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is damaged, truncated, of another version, or does not fit together.
    #[error("{}: {cause}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

impl TrainState {
    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.moments.steps
    }

    /// Writes the state into a folder, all or nothing: the file appears, or replaces an older one, by a rename. Equal states give equal
    /// bytes.
    ///
    /// # Errors
    /// When the folder or file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), CheckpointError> {
        let file = folder.join(FILE);
        let bytes = self.bytes().map_err(|cause| malformed(&file, cause))?;
        let scratch = folder.join(format!("{FILE}.partial"));
        let write = || {
            fs::create_dir_all(folder)?;
            let mut out = File::create(&scratch)?;
            out.write_all(&bytes)?;
            out.sync_all()?;
            fs::rename(&scratch, &file)
        };
        write().map_err(|cause| CheckpointError::Io { file: file.clone(), cause })
    }

    /// Reads a state that [`TrainState::save`] wrote.
    ///
    /// # Errors
    /// When the file is missing, damaged, of another version, or its parts do not fit together.
    pub fn load(folder: &Path) -> Result<Self, CheckpointError> {
        let file = folder.join(FILE);
        let bytes = fs::read(&file).map_err(|cause| CheckpointError::Io { file: file.clone(), cause })?;
        parse(&bytes).map_err(|cause| malformed(&file, cause))
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        let header = Header {
            version: VERSION,
            layout: self.layout.clone(),
            seed: self.seed,
            steps: self.moments.steps,
        };
        let header = serde_json::to_string(&header).map_err(|error| error.to_string())?;
        let views = self.parts().map(|(name, values)| {
            TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))
                .map(|view| (name, view))
        });
        let views = views.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        serialize(views, Some(metadata)).map_err(|error| error.to_string())
    }

    fn parts(&self) -> [(&'static str, &[f32]); 4] {
        let Moments { first, second, .. } = &self.moments;
        [("values", &self.values), ("first", first), ("second", second), ("losses", &self.losses)]
    }
}

fn parse(bytes: &[u8]) -> Result<TrainState, String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let header = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER));
    let header = header.ok_or_else(|| format!("metadata entry {HEADER} is missing"))?;
    let version = serde_json::from_str::<serde_json::Value>(header).map_err(|error| error.to_string())?;
    if version.get("version") != Some(&VERSION.into()) {
        return Err(format!("version {} where {VERSION} is expected", version["version"]));
    }
    let header: Header = serde_json::from_str(header).map_err(|error| error.to_string())?;
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let read = |name: &str| {
        let view = tensors.tensor(name).map_err(|_| format!("tensor {name} is missing"))?;
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor {name} is {:?}, expected F32", view.dtype()));
        }
        let (quads, _) = view.data().as_chunks::<4>();
        Ok(quads.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>())
    };
    let (values, losses) = (read("values")?, read("losses")?);
    let moments = Moments { first: read("first")?, second: read("second")?, steps: header.steps };
    let expect = |name: &str, got: usize, expected: usize| {
        if got == expected {
            return Ok(());
        }
        Err(format!("tensor {name} has {got} numbers, expected {expected}"))
    };
    expect("first", moments.first.len(), values.len())?;
    expect("second", moments.second.len(), values.len())?;
    expect("losses", losses.len(), usize::try_from(header.steps).unwrap_or(usize::MAX))?;
    Ok(TrainState { layout: header.layout, seed: header.seed, values, moments, losses })
}

fn malformed(file: &Path, cause: String) -> CheckpointError {
    CheckpointError::Malformed { file: file.to_path_buf(), cause }
}
