//! A manifest on this machine as a request.

use std::path::Path;

use proto::v1;

use super::Failure;

/// Reads a manifest; its relative paths start from its own folder.
pub(super) fn request(path: &Path) -> Result<v1::PlanRequest, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
    let manifest = std::fs::read_to_string(path).map_err(failed)?;
    let whole = std::fs::canonicalize(path).map_err(failed)?;
    let folder = whole.parent().unwrap_or(&whole).display().to_string();
    Ok(v1::PlanRequest { manifest, folder, file: path.display().to_string(), ..Default::default() })
}
