//! Writing an adapter folder.

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};

use super::{CONFIG_FILE, MODEL_FILE, Matrix, PREFIX, PeftError, config, tensor_name};
use crate::Adapter;

/// Writes an adapter as a folder that PEFT (0.18 and later) loads; `base_model` is what its settings name as the base. Equal adapters
/// give equal bytes. The shape must adapt the same projections in every layer, as PEFT's `target_modules` say it.
///
/// # Errors
/// When the folder or a file cannot be written.
pub fn export(adapter: &Adapter, base_model: &str, folder: &Path) -> Result<(), PeftError> {
    fs::create_dir_all(folder).map_err(|cause| PeftError::io(folder, cause))?;
    let write =
        |file: &Path, bytes: &[u8]| fs::write(file, bytes).map_err(|cause| PeftError::io(file, cause));
    let file = folder.join(CONFIG_FILE);
    let text =
        config::render(adapter.shape(), base_model).map_err(|cause| PeftError::malformed(&file, cause))?;
    write(&file, text.as_bytes())?;
    let file = folder.join(MODEL_FILE);
    let bytes = tensors(adapter).map_err(|cause| PeftError::malformed(&file, cause))?;
    write(&file, &bytes)
}

fn tensors(adapter: &Adapter) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let rank = adapter.shape().rank();
    let mut views = Vec::new();
    for (index, site) in adapter.shape().sites().iter().enumerate() {
        let matrices = [
            (Matrix::A, [rank, site.d_in], adapter.a(index)),
            (Matrix::B, [site.d_out, rank], adapter.b(index)),
        ];
        for (matrix, dims, values) in matrices {
            let view = TensorView::new(Dtype::F32, dims.to_vec(), bytemuck::cast_slice(values))?;
            views.push((format!("{PREFIX}{}", tensor_name(site.site, matrix)), view));
        }
    }
    serialize(views, Some([("format".to_owned(), "pt".to_owned())].into()))
}
