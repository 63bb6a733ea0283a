//! Where the adapters of a set lie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jobs_lora::{Adapter, peft};
use jobs_spec::model::ModelConfig;

use crate::{Failure, stage3_joint};

/// PEFT folders by tool key, each read when it is needed.
#[derive(Clone, Debug, Default)]
pub struct AdapterFolders {
    folders: BTreeMap<String, PathBuf>,
}

impl AdapterFolders {
    /// Adapters that lie anywhere, as those of stage 1 do.
    pub fn new(folders: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self { folders: folders.into_iter().collect() }
    }

    /// The adapters in the artifact of a joint finetuning.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn finetuned(artifact: &Path) -> Result<Self, Failure> {
        let tools = stage3_joint::adapter_folder(artifact, "");
        let failed = |cause: std::io::Error| Failure::Storage(format!("{}: {cause}", tools.display()));
        let mut folders = BTreeMap::new();
        for entry in std::fs::read_dir(&tools).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            folders.insert(entry.file_name().to_string_lossy().into_owned(), entry.path());
        }
        Ok(Self { folders })
    }

    /// Whether a tool has an adapter.
    pub fn has(&self, tool: &str) -> bool {
        self.folders.contains_key(tool)
    }

    /// The adapter of a tool, if it has one.
    ///
    /// # Errors
    /// When its files are damaged or do not fit the base model.
    pub fn load(&self, tool: &str, base: &ModelConfig) -> Result<Option<Adapter>, Failure> {
        Ok(self.folders.get(tool).map(|folder| peft::import(folder, base)).transpose()?)
    }
}
