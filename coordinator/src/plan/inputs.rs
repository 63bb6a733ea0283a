//! The inputs that come from files: model folders and datasets, each read and hashed once for all points.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use jobs_data::Prepared;
use jobs_spec::manifest::{Dataset, Point};
use jobs_spec::model::ModelConfig;
use proto::id::Digest;
use worker_artifacts::{ArtifactError, Import, ImportFile, Source};

use super::data::{Data, Entries, Tool, document_bytes, work_of_entries, work_of_traces};
use super::model;
use crate::server::planner::PlanError;

/// Everything imported so far.
pub(super) struct Inputs {
    folder: PathBuf,
    models: HashMap<PathBuf, Digest>,
    datasets: Vec<(Dataset, Rc<Data>)>,
    imports: BTreeMap<Digest, Import>,
    notes: Vec<String>,
}

impl Inputs {
    /// Nothing yet; relative paths start from `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            models: HashMap::new(),
            datasets: Vec::new(),
            imports: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// The imports, and what was counted on the way.
    pub(super) fn finish(self) -> (Vec<Import>, Vec<String>) {
        (self.imports.into_values().collect(), self.notes)
    }

    /// The base model that the manifest names, and its configuration.
    pub(super) fn base(&mut self, point: &Point, path: &Path) -> Result<(Digest, ModelConfig), PlanError> {
        let field = "base.path";
        let digest = self.model(point, field, path)?;
        let config = ModelConfig::from_dir(&self.folder.join(path))
            .map_err(|error| PlanError::Invalid(point.error(field, error).to_string()))?;
        Ok((digest, config))
    }

    /// Tells something once.
    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// A checked model folder that `field` of the manifest names.
    pub(super) fn model(&mut self, point: &Point, field: &str, path: &Path) -> Result<Digest, PlanError> {
        let folder = self.folder.join(path);
        if let Some(known) = self.models.get(&folder) {
            return Ok(*known);
        }
        let invalid =
            |error: &dyn std::fmt::Display| PlanError::Invalid(point.error(field, error).to_string());
        let files = model::files(&folder).map_err(|error| invalid(&error))?;
        let files = files.into_iter().map(|(path, local)| ImportFile { path, source: Source::File(local) });
        let digest = self.import("model", files.collect())?;
        self.models.insert(folder, digest);
        Ok(digest)
    }

    /// A prepared dataset.
    pub(super) fn dataset(&mut self, point: &Point, dataset: &Dataset) -> Result<Rc<Data>, PlanError> {
        if let Some((_, known)) = self.datasets.iter().find(|(known, _)| known == dataset) {
            return Ok(Rc::clone(known));
        }
        let field = match dataset {
            Dataset::Records(_) => "dataset.records.path",
            Dataset::Bfcl(_) => "dataset.bfcl.path",
        };
        let invalid =
            |error: &dyn std::fmt::Display| PlanError::Invalid(point.error(field, error).to_string());
        let prepared = jobs_data::prepare(dataset, &self.folder).map_err(|error| invalid(&error))?;
        if prepared.training.traces.is_empty() {
            return Err(invalid(&"no tool has a trace to learn from"));
        }
        let data = Rc::new(self.data(&prepared)?);
        let idle = prepared.training.tools.len() - data.tools.len();
        self.notes.extend(prepared.notes);
        if idle > 0 {
            self.notes.push(format!("{idle} tools have no traces and get no adapter"));
        }
        self.datasets.push((dataset.clone(), Rc::clone(&data)));
        Ok(data)
    }

    fn data(&mut self, prepared: &Prepared) -> Result<Data, PlanError> {
        let training = self.import("dataset", made(prepared.training.files()))?;
        let documents = document_bytes(&prepared.training);
        let (mut tools, mut covered) = (Vec::new(), BTreeSet::new());
        for (tool, own) in prepared.training.by_tool() {
            let before = covered.len();
            covered.extend(own.traces.iter().map(|trace| trace.category));
            tools.push(Tool {
                key: tool.key.clone(),
                name: tool.name.clone(),
                traces: self.import("traces", made(own.files()))?,
                work: work_of_traces(&own, &documents),
                coverage: covered.len() > before,
            });
        }
        let mut entries = BTreeMap::new();
        for (category, set) in &prepared.entries {
            let work = work_of_entries(set);
            let imported = self.import("entries", made(set.files()))?;
            entries.insert(*category, Entries { set: imported, count: set.entries.len(), work });
        }
        Ok(Data { training, tools, entries })
    }

    fn import(&mut self, role: &str, files: Vec<ImportFile>) -> Result<Digest, PlanError> {
        let import = Import::plan(role, files).map_err(storage)?;
        let digest = import.artifact.digest;
        self.imports.entry(digest).or_insert(import);
        Ok(digest)
    }
}

/// Content made here, as files of an artifact.
fn made(files: Vec<(String, Vec<u8>)>) -> Vec<ImportFile> {
    files.into_iter().map(|(path, bytes)| ImportFile { path, source: Source::Bytes(bytes.into()) }).collect()
}

/// What the store or the disk said.
pub(super) fn storage(error: ArtifactError) -> PlanError {
    PlanError::Storage(error.to_string())
}
