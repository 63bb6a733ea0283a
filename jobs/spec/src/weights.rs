//! Weight files (safetensors): their header, held against the file's size. The tensors themselves are the reader's business.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use safetensors::tensor::Metadata;

/// Longest header that is read: the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// A weight file that is whole.
#[derive(Debug)]
pub struct WeightFile {
    /// The open file.
    pub file: File,
    /// Names, formats, shapes and places of its tensors.
    pub metadata: Metadata,
    /// The byte from which the tensors' places count.
    pub start: u64,
}

/// Why a weight file was refused.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is truncated or no weight file.
    #[error("{0}")]
    Broken(String),
}

impl WeightFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// When the file cannot be read, its header is none, or it is not as long as the header says.
    pub fn open(path: &Path) -> Result<Self, WeightError> {
        let broken = |what: String| Err(WeightError::Broken(what));
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut length = [0; 8];
        let header = match file.read_exact(&mut length) {
            Ok(()) => u64::from_le_bytes(length),
            Err(_) => return broken(format!("truncated: {size} bytes hold no header")),
        };
        if header > MAX_HEADER {
            return broken("not a safetensors file: its header's length makes no sense".to_owned());
        }
        let start = header + 8;
        if start > size {
            return broken(format!("truncated: {size} bytes, the header alone has {start}"));
        }
        let mut bytes = Vec::new();
        (&file).take(header).read_to_end(&mut bytes)?;
        let metadata: Metadata = match serde_json::from_slice(&bytes) {
            Ok(metadata) => metadata,
            Err(error) => return broken(format!("broken safetensors header: {error}")),
        };
        let whole = start.saturating_add(metadata.data_len() as u64);
        if whole != size {
            let fault = if size < whole { "truncated" } else { "too long" };
            return broken(format!("{fault}: {size} bytes instead of {whole}"));
        }
        Ok(Self { file, metadata, start })
    }
}
