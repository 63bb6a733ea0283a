//! A model folder in Hugging Face layout, checked before anything starts: every file that jobs will read is there and whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use jobs_spec::weights::{WeightError, WeightFile};
use serde::Deserialize;
use serde_json::Value;

/// Files that belong to a model where they exist, beside its weights.
const OPTIONAL: [&str; 4] =
    ["chat_template.jinja", "generation_config.json", "special_tokens_map.json", "tokenizer_config.json"];
/// Files that every model has, beside its weights.
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// What is wrong with a model folder: one line that names the file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub(super) struct ModelError {
    path: PathBuf,
    what: String,
}

impl ModelError {
    fn new(path: &Path, what: impl ToString) -> Self {
        Self { path: path.to_owned(), what: what.to_string() }
    }
}

/// The files of a model by name, of which nothing else in the folder is part.
/// Fails on a missing or broken one: configuration, tokenizer, a weight file that is truncated or that the index names in vain.
pub(super) fn files(dir: &Path) -> Result<BTreeMap<String, PathBuf>, ModelError> {
    if !dir.is_dir() {
        return Err(ModelError::new(dir, "no such folder"));
    }
    let mut names = BTreeSet::new();
    for name in REQUIRED {
        json::<BTreeMap<String, Value>>(&dir.join(name))?;
        names.insert(name.to_owned());
    }
    for name in OPTIONAL.into_iter().filter(|name| dir.join(name).is_file()) {
        names.insert(name.to_owned());
    }
    if dir.join(INDEX).is_file() {
        names.extend(shards(dir)?);
        names.insert(INDEX.to_owned());
    } else {
        tensors(&dir.join(WEIGHTS))?;
        names.insert(WEIGHTS.to_owned());
    }
    Ok(names.into_iter().map(|name| (name.clone(), dir.join(name))).collect())
}

/// The weight files that the index names, each holding what the index says.
fn shards(dir: &Path) -> Result<BTreeSet<String>, ModelError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let path = dir.join(INDEX);
    let Index { weight_map } = json(&path)?;
    let mut held: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (tensor, shard) in &weight_map {
        if Path::new(shard).components().count() != 1 || !shard.ends_with(".safetensors") {
            return Err(ModelError::new(&path, format!("`{shard}` is no name of a weight file beside it")));
        }
        if !held.contains_key(shard.as_str()) {
            held.insert(shard, tensors(&dir.join(shard))?);
        }
        if !held.get(shard.as_str()).is_some_and(|names| names.contains(tensor)) {
            return Err(ModelError::new(&path, format!("`{tensor}` is not in {shard}")));
        }
    }
    if held.is_empty() {
        return Err(ModelError::new(&path, "names no weights"));
    }
    Ok(held.into_keys().map(str::to_owned).collect())
}

/// The names of a weight file's tensors. Reads only the header, and holds the file's size against it.
fn tensors(path: &Path) -> Result<BTreeSet<String>, ModelError> {
    let opened = WeightFile::open(path).map_err(|error| match error {
        WeightError::Read(error) => ModelError::new(path, reason(&error)),
        WeightError::Broken(what) => ModelError::new(path, what),
    })?;
    Ok(opened.metadata.tensors().into_keys().collect())
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let text = std::fs::read(path).map_err(|error| ModelError::new(path, reason(&error)))?;
    serde_json::from_slice(&text).map_err(|error| ModelError::new(path, error))
}

/// An I/O error without the system's error number where the plain word says it all.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model folder with one tensor of four numbers.
    fn model() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("config.json", "{}"), ("tokenizer.json", "{}"), ("notes.txt", "not a part")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        std::fs::write(dir.path().join(WEIGHTS), weights()).unwrap();
        dir
    }

    fn weights() -> Vec<u8> {
        let header = br#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&[0; 16]);
        bytes
    }

    fn error(dir: &tempfile::TempDir) -> String {
        let text = files(dir.path()).unwrap_err().to_string();
        text.strip_prefix(&format!("{}/", dir.path().display())).unwrap().to_owned()
    }

    #[test]
    fn only_the_models_own_files_count() {
        let dir = model();
        std::fs::write(dir.path().join("chat_template.jinja"), "x").unwrap();
        let names: Vec<_> = files(dir.path()).unwrap().into_keys().collect();
        assert_eq!(names, ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"]);
    }

    #[test]
    fn a_missing_or_broken_file_is_named() {
        for (name, content, expected) in [
            ("tokenizer.json", None, "tokenizer.json: no such file"),
            ("config.json", Some("{"), "config.json: EOF while parsing an object at line 1 column 1"),
            (WEIGHTS, None, "model.safetensors: no such file"),
            (WEIGHTS, Some("abc"), "model.safetensors: truncated: 3 bytes hold no header"),
            (
                WEIGHTS,
                Some("not a safetensors file"),
                "model.safetensors: not a safetensors file: its header's length makes no sense",
            ),
            (
                INDEX,
                Some("{}"),
                "model.safetensors.index.json: missing field `weight_map` at line 1 column 2",
            ),
            (INDEX, Some(r#"{"weight_map":{}}"#), "model.safetensors.index.json: names no weights"),
            (
                INDEX,
                Some(r#"{"weight_map":{"w":"../x.safetensors"}}"#),
                "model.safetensors.index.json: `../x.safetensors` is no name of a weight file beside it",
            ),
            (INDEX, Some(r#"{"weight_map":{"w":"a.safetensors"}}"#), "a.safetensors: no such file"),
            (
                INDEX,
                Some(r#"{"weight_map":{"v":"model.safetensors"}}"#),
                "model.safetensors.index.json: `v` is not in model.safetensors",
            ),
        ] {
            let dir = model();
            match content {
                Some(content) => std::fs::write(dir.path().join(name), content).unwrap(),
                None => std::fs::remove_file(dir.path().join(name)).unwrap(),
            }
            assert_eq!(error(&dir), expected);
        }
    }

    #[test]
    fn a_weight_file_of_any_other_length_is_refused() {
        let whole = weights();
        for length in (0..whole.len()).chain([whole.len() + 1]) {
            let mut bytes = whole.clone();
            bytes.resize(length, 0);
            let dir = model();
            std::fs::write(dir.path().join(WEIGHTS), bytes).unwrap();
            let message = error(&dir);
            assert!(
                message.starts_with("model.safetensors: t") && !message.contains('\n'),
                "{length}: {message}"
            );
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        assert_eq!(files(Path::new("nowhere/base")).unwrap_err().to_string(), "nowhere/base: no such folder");
    }
}
