//! Reading an adapter folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use half::{bf16, f16};
use jobs_lm::adapt::Site;
use jobs_spec::model::ModelConfig;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{CONFIG_FILE, MODEL_FILE, Matrix, PeftError, config, module, parse_name, tensor_name};
use crate::{Adapter, AdapterShape, SiteShape};

/// Reads an adapter folder written by PEFT, by [`super::export`], or by a writer that leaves PEFT's name prefix out. Halves become f32.
/// Every tensor is checked against the base model that it will be added to.
///
/// # Errors
/// When a file is missing, damaged or truncated, when the settings ask for what plain LoRA is not, or when a tensor is missing, unknown
/// to the base model, or of a wrong shape or type.
pub fn import(folder: &Path, base: &ModelConfig) -> Result<Adapter, PeftError> {
    let settings = config::Read::open(&folder.join(CONFIG_FILE))?;
    let file = folder.join(MODEL_FILE);
    let bytes = std::fs::read(&file).map_err(|cause| PeftError::io(&file, cause))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|cause| PeftError::malformed(&file, cause))?;

    let mut sites: BTreeMap<Site, [Option<TensorView<'_>>; 2]> = BTreeMap::new();
    for (name, view) in tensors.iter() {
        let unknown = || PeftError::Unknown { file: file.clone(), tensor: name.to_owned() };
        let (site, matrix) = parse_name(name).ok_or_else(unknown)?;
        let SiteShape { d_in, d_out, .. } = SiteShape::of(site, base).ok_or_else(unknown)?;
        if !settings.target_modules.iter().any(|target| target.ends_with(module(site.projection))) {
            return Err(unknown());
        }
        let expected = match matrix {
            Matrix::A => [settings.r, d_in],
            Matrix::B => [d_out, settings.r],
        };
        if view.shape() != expected {
            let (file, tensor, got) = (file.clone(), name.to_owned(), view.shape().to_vec());
            return Err(PeftError::Shape { file, tensor, got, expected });
        }
        sites.entry(site).or_default()[matrix as usize] = Some(view);
    }

    let shape = sites.keys().filter_map(|&site| SiteShape::of(site, base));
    let shape = AdapterShape::new(settings.r, settings.lora_alpha, shape.collect())
        .map_err(|cause| PeftError::Adapter { file: file.clone(), cause })?;
    let mut values = Vec::with_capacity(shape.parameters());
    for (site, matrices) in sites {
        for (matrix, view) in [Matrix::A, Matrix::B].into_iter().zip(matrices) {
            let tensor = tensor_name(site, matrix);
            let Some(view) = view else { return Err(PeftError::Missing { file, tensor }) };
            read(&file, tensor, &view, &mut values)?;
        }
    }
    let cause = "its tensors do not fill the adapter";
    Adapter::from_values(&Arc::new(shape), values).ok_or_else(|| PeftError::malformed(&file, cause))
}

/// Appends a tensor's numbers. Tensor files are little-endian and promise no alignment.
fn read(file: &Path, tensor: String, view: &TensorView<'_>, values: &mut Vec<f32>) -> Result<(), PeftError> {
    let (quads, _) = view.data().as_chunks::<4>();
    let (pairs, _) = view.data().as_chunks::<2>();
    match view.dtype() {
        Dtype::F32 => values.extend(quads.iter().map(|bytes| f32::from_le_bytes(*bytes))),
        Dtype::F16 => values.extend(pairs.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32())),
        Dtype::BF16 => values.extend(pairs.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32())),
        other => {
            return Err(PeftError::Type { file: file.to_path_buf(), tensor, got: format!("{other:?}") });
        }
    }
    Ok(())
}
