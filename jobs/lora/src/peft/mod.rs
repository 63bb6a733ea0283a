//! Adapter folders as the PEFT library reads and writes them: `adapter_config.json` beside `adapter_model.safetensors`.

mod config;
mod export;
mod import;

use std::path::{Path, PathBuf};

use jobs_lm::adapt::Site;
use jobs_spec::model::Projection;

pub use export::export;
pub use import::import;

use crate::ShapeError;

/// The settings file of an adapter folder.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The tensor file of an adapter folder.
pub const MODEL_FILE: &str = "adapter_model.safetensors";

/// What PEFT puts before every tensor name; some writers leave it out.
const PREFIX: &str = "base_model.model.";

/// Which of the two matrices of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matrix {
    A,
    B,
}

/// Why an adapter folder cannot be read or written. Each names the file and, where there is one, the tensor or field.
#[derive(Debug, thiserror::Error)]
pub enum PeftError {
    /// The file cannot be read or written.
    #[error("{}: {cause}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not what its name promises: broken JSON, or a truncated or damaged tensor file.
    #[error("{}: {cause}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A setting that changes what the adapter computes, in a way that this program does not.
    #[error("{}: field {field} is {got}; only {expected} is supported", file.display())]
    Setting {
        /// The file.
        file: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value.
        got: String,
        /// The value that works.
        expected: &'static str,
    },
    /// A tensor of a wrong shape.
    #[error("{}: tensor {tensor} has shape {got:?}, expected {expected:?}", file.display())]
    Shape {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape it has.
        got: Vec<usize>,
        /// The shape that rank and base model ask for.
        expected: [usize; 2],
    },
    /// A tensor of a type that holds no weights.
    #[error("{}: tensor {tensor} is {got}, expected F32, F16 or BF16", file.display())]
    Type {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        got: String,
    },
    /// A tensor that belongs to no projection of the base model.
    #[error("{}: tensor {tensor} belongs to no projection of the base model", file.display())]
    Unknown {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor that must be there.
    #[error("{}: tensor {tensor} is missing", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// Rank and tensors make no adapter.
    #[error("{}: {cause}", file.display())]
    Adapter {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        cause: ShapeError,
    },
}

impl PeftError {
    fn io(file: &Path, cause: std::io::Error) -> Self {
        Self::Io { file: file.to_path_buf(), cause }
    }

    fn malformed(file: &Path, cause: impl ToString) -> Self {
        Self::Malformed { file: file.to_path_buf(), cause: cause.to_string() }
    }
}

/// The last part of a projection's module path, which `target_modules` lists.
fn module(projection: Projection) -> &'static str {
    projection.path().rsplit('.').next().unwrap_or_default()
}

/// The name of a tensor, without [`PREFIX`].
fn tensor_name(site: Site, matrix: Matrix) -> String {
    format!("model.layers.{}.{}.lora_{matrix:?}.weight", site.layer, site.projection.path())
}

/// The place that a tensor name means, with or without [`PREFIX`].
fn parse_name(name: &str) -> Option<(Site, Matrix)> {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name).strip_prefix("model.layers.")?;
    let (layer, rest) = rest.split_once('.')?;
    let layer = layer.parse().ok()?;
    let (path, matrix) = if let Some(path) = rest.strip_suffix(".lora_A.weight") {
        (path, Matrix::A)
    } else {
        (rest.strip_suffix(".lora_B.weight")?, Matrix::B)
    };
    let projection = Projection::ALL.into_iter().find(|projection| projection.path() == path)?;
    Some((Site { layer, projection }, matrix))
}
