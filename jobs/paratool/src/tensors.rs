//! Files of named f32 tensors with one JSON header, as embeddings, gate and checkpoints use them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Failure;

/// The metadata entry that holds the header; one entry only, so that equal contents give equal bytes.
const HEADER: &str = "quiver";

/// A tensor to write: name, shape, values in row-major order.
pub(crate) type Named<'a> = (String, Vec<usize>, Cow<'a, [f32]>);

/// What a file held.
pub(crate) struct Contents<H> {
    pub(crate) header: H,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl<H> Contents<H> {
    /// Takes out a tensor of a known shape.
    pub(crate) fn take(&mut self, file: &Path, name: &str, shape: &[usize]) -> Result<Vec<f32>, Failure> {
        let problem = |what: String| Failure::Data(format!("{}: tensor {name} {what}", file.display()));
        let (found, values) = self.tensors.remove(name).ok_or_else(|| problem("is missing".to_owned()))?;
        if found != shape {
            return Err(problem(format!("has shape {found:?}, expected {shape:?}")));
        }
        Ok(values)
    }
}

/// Writes a file, all or nothing, with the folders above it. Equal contents give equal bytes.
pub(crate) fn write(file: &Path, header: &impl Serialize, tensors: &[Named<'_>]) -> Result<(), Failure> {
    let failed = |cause: &dyn std::fmt::Display| Failure::Storage(format!("{}: {cause}", file.display()));
    let header = serde_json::to_string(header).map_err(|cause| failed(&cause))?;
    let views = tensors.iter().map(|(name, shape, values)| {
        TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).map(|view| (name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(|cause| failed(&cause))?;
    let metadata = HashMap::from([(HEADER.to_owned(), header)]);
    let bytes = serialize(views, Some(metadata)).map_err(|cause| failed(&cause))?;
    replace(file, &bytes)
}

/// Writes a file by a rename, with the folders above it.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let scratch = file.with_extension("partial");
    let write = || {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut out = File::create(&scratch)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&scratch, file)
    };
    write().map_err(|cause| Failure::Storage(format!("{}: {cause}", file.display())))
}

/// Reads a file that [`write`] wrote.
pub(crate) fn read<H: DeserializeOwned>(file: &Path) -> Result<Contents<H>, Failure> {
    let bytes = fs::read(file).map_err(|cause| Failure::Storage(format!("{}: {cause}", file.display())))?;
    parse(&bytes).map_err(|cause| Failure::Data(format!("{}: {cause}", file.display())))
}

fn parse<H: DeserializeOwned>(bytes: &[u8]) -> Result<Contents<H>, String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|cause| cause.to_string())?;
    let header = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER));
    let header = header.ok_or_else(|| format!("metadata entry {HEADER} is missing"))?;
    let header = serde_json::from_str(header).map_err(|cause| format!("header: {cause}"))?;
    let file = SafeTensors::deserialize(bytes).map_err(|cause| cause.to_string())?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor {name} is {:?}, expected F32", view.dtype()));
        }
        let (quads, _) = view.data().as_chunks::<4>();
        let values = quads.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        tensors.insert(name.to_owned(), (view.shape().to_vec(), values));
    }
    Ok(Contents { header, tensors })
}
