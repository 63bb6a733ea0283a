//! Checkpoints in Hugging Face layout: one `model.safetensors`, or shards listed in `model.safetensors.index.json`.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use half::{bf16, f16};
use jobs_spec::model::ConfigError;
use jobs_spec::weights::{WeightError, WeightFile};
use safetensors::tensor::{Dtype, TensorInfo, TensorView};
use serde_json::Value;

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// `config.json` was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file is truncated or not in its format.
    #[error("{}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A weight is in no file of the checkpoint.
    #[error("{}: no tensor `{name}`, expected of shape {expected:?}", path.display())]
    Missing {
        /// The checkpoint's folder.
        path: PathBuf,
        /// The weight.
        name: String,
        /// Its shape by the configuration.
        expected: Vec<usize>,
    },
    /// A weight has another shape than the configuration says.
    #[error("{}: tensor `{name}` has shape {got:?}, expected {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The weight.
        name: String,
        /// Its shape by the configuration.
        expected: Vec<usize>,
        /// Its shape in the file.
        got: Vec<usize>,
    },
    /// A weight has a number format that is not supported.
    #[error("{}: tensor `{name}` is {dtype:?}, expected F32, F16 or BF16", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The weight.
        name: String,
        /// Its format in the file.
        dtype: Dtype,
    },
}

/// Where a tensor lies.
struct Place {
    file: Rc<Shard>,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes from the start of the file.
    bytes: Range<u64>,
}

/// An open file of tensors.
struct Shard {
    path: PathBuf,
    file: File,
}

impl Shard {
    fn read(&self, bytes: Range<u64>) -> Result<Vec<u8>, LoadError> {
        let mut content = vec![0; (bytes.end - bytes.start) as usize];
        let read = (&self.file).seek(SeekFrom::Start(bytes.start));
        read.and_then(|_| (&self.file).read_exact(&mut content))
            .map_err(|source| LoadError::Read { path: self.path.clone(), source })?;
        Ok(content)
    }
}

/// All tensors of a checkpoint, read one by one as they are taken: no more than one lies in memory twice.
pub(crate) struct Checkpoint {
    dir: PathBuf,
    tensors: HashMap<String, Place>,
}

impl Checkpoint {
    /// Opens every shard and reads what it holds.
    pub(crate) fn open(dir: &Path) -> Result<Self, LoadError> {
        let mut tensors = HashMap::new();
        for path in shards(dir)? {
            tensors.extend(open_shard(path)?);
        }
        Ok(Self { dir: dir.to_owned(), tensors })
    }

    /// Drops `prefix` from the names that have it.
    pub(crate) fn strip_prefix(&mut self, prefix: &str) {
        let tensors = std::mem::take(&mut self.tensors).into_iter();
        self.tensors = tensors
            .map(|(name, tensor)| (name.strip_prefix(prefix).map(str::to_owned).unwrap_or(name), tensor))
            .collect();
    }

    /// The values of a tensor that must have this shape, widened to f32.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let Some(Place { file, dtype, shape: got, bytes }) = self.tensors.remove(name) else {
            return Err(LoadError::Missing {
                path: self.dir.clone(),
                name: name.into(),
                expected: shape.into(),
            });
        };
        let (path, name) = (file.path.clone(), name.to_owned());
        if got != shape {
            return Err(LoadError::Shape { path, name, expected: shape.into(), got });
        }
        widen(dtype, &file.read(bytes)?).ok_or(LoadError::Dtype { path, name, dtype })
    }
}

fn shards(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let single = dir.join("model.safetensors");
    let index = dir.join("model.safetensors.index.json");
    if !index.is_file() {
        return Ok(vec![single]);
    }
    let corrupt = |reason: String| LoadError::Corrupt { path: index.clone(), reason };
    let text =
        std::fs::read_to_string(&index).map_err(|source| LoadError::Read { path: index.clone(), source })?;
    let value: Value = serde_json::from_str(&text).map_err(|error| corrupt(error.to_string()))?;
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| corrupt("no object `weight_map`".into()))?;
    let mut files = BTreeSet::new();
    for (tensor, file) in map {
        let name = file.as_str().filter(|name| !name.contains(['/', '\\']));
        files.insert(
            name.ok_or_else(|| corrupt(format!("`weight_map`: `{tensor}` names no file of this folder")))?,
        );
    }
    Ok(files.into_iter().map(|file| dir.join(file)).collect())
}

fn open_shard(path: PathBuf) -> Result<Vec<(String, Place)>, LoadError> {
    let opened = WeightFile::open(&path).map_err(|error| match error {
        WeightError::Read(source) => LoadError::Read { path: path.clone(), source },
        WeightError::Broken(reason) => LoadError::Corrupt { path: path.clone(), reason },
    })?;
    let WeightFile { file, metadata, start } = opened;
    let shard = Rc::new(Shard { path, file });
    let place = |(name, info): (String, &TensorInfo)| {
        let (from, to) = info.data_offsets;
        let bytes = start + from as u64..start + to as u64;
        let place = Place { file: Rc::clone(&shard), dtype: info.dtype, shape: info.shape.clone(), bytes };
        (name, place)
    };
    Ok(metadata.tensors().into_iter().map(place).collect())
}

/// Values as f32, or `None` when they are not floating point of at most 32 bits.
fn widen(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    let pairs = || data.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F32 => Some(data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        Dtype::F16 => Some(pairs().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()),
        Dtype::BF16 => Some(pairs().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()),
        _ => None,
    }
}

/// Number format of a written checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// 32-bit floating point: loads back bit for bit.
    F32,
    /// bfloat16: half the size, rounded to nearest even.
    Bf16,
}

/// Why a model could not be saved.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct SaveError {
    /// The file.
    pub path: PathBuf,
    /// What failed.
    pub reason: String,
}

/// Writes named tensors as one safetensors file.
pub(crate) fn write(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
    format: FileFormat,
) -> Result<(), SaveError> {
    let failed = |reason: String| SaveError { path: path.to_owned(), reason };
    let dtype = match format {
        FileFormat::F32 => Dtype::F32,
        FileFormat::Bf16 => Dtype::BF16,
    };
    let encoded: Vec<_> =
        tensors.into_iter().map(|(name, shape, values)| (name, shape, encode(&values, format))).collect();
    let mut views = Vec::with_capacity(encoded.len());
    for (name, shape, bytes) in &encoded {
        let view = TensorView::new(dtype, shape.clone(), bytes).map_err(|error| failed(error.to_string()))?;
        views.push((name, view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| failed(error.to_string()))
}

fn encode(values: &[f32], format: FileFormat) -> Vec<u8> {
    match format {
        FileFormat::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        FileFormat::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
    }
}
