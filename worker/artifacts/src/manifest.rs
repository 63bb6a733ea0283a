//! An artifact's manifest: which files, from whom, out of what. Persisted: a change of layout needs a new [`FORMAT`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proto::id::{Attempt, Digest, JobKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ArtifactError, Blob, Result, hash_bytes};

/// The layout that this build writes and reads.
const FORMAT: u32 = 1;

/// Names a committed artifact.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// Its manifest's key in the store.
    pub path: String,
    /// SHA-256 of that manifest.
    pub digest: Digest,
}

/// Who wrote an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// The result of a job.
    Job {
        /// The job's key.
        key: JobKey,
        /// The attempt that computed it.
        attempt: Attempt,
    },
    /// A state from which a job can go on.
    Checkpoint {
        /// The job's key.
        key: JobKey,
        /// The attempt that wrote it.
        attempt: Attempt,
        /// Steps done.
        step: u64,
    },
    /// Files that a planner brought in.
    Import,
}

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Where it lies in the artifact: relative, parts separated by `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Its content's SHA-256, which names its blob.
    pub sha256: Digest,
}

impl FileEntry {
    /// The file's content.
    pub const fn blob(&self) -> Blob {
        Blob { digest: self.sha256, size: self.size }
    }
}

/// What an artifact consists of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this layout.
    format: u32,
    /// What it is: `adapter`, `gate`, `report`, `checkpoint`, ….
    pub role: String,
    /// Who wrote it.
    pub origin: Origin,
    /// Its files, sorted by path.
    pub files: Vec<FileEntry>,
    /// The artifacts that it was made from, by the name under which the job saw them.
    pub inputs: BTreeMap<String, ArtifactRef>,
    /// Figures, a JSON object.
    pub metrics: Value,
    /// Versions of the programs that took part.
    pub versions: BTreeMap<String, String>,
    /// The trace of the attempt that wrote it, 32 hex digits, where traces were collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Manifest {
    /// A manifest without lineage, figures, versions and trace. Sorts the files.
    ///
    /// # Errors
    /// When a path may not stand in a manifest or stands there twice.
    pub fn new(role: &str, origin: Origin, mut files: Vec<FileEntry>) -> Result<Self> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        check_paths(&files)?;
        let (inputs, metrics, versions) =
            (BTreeMap::new(), Value::Object(serde_json::Map::new()), BTreeMap::new());
        Ok(Self {
            format: FORMAT,
            role: role.to_owned(),
            origin,
            files,
            inputs,
            metrics,
            versions,
            trace: None,
        })
    }

    /// The canonical JSON and the reference under which it is stored: equal manifests have equal bytes.
    ///
    /// # Errors
    /// When the figures are no JSON.
    pub fn encode(&self) -> Result<(ArtifactRef, Bytes)> {
        let canonical = Self { metrics: sorted(&self.metrics), ..self.clone() };
        let bytes = serde_json::to_vec(&canonical).map_err(|error| ArtifactError::Manifest {
            object: self.role.clone(),
            reason: error.to_string(),
        })?;
        let digest = hash_bytes(&bytes).digest;
        let path = match &self.origin {
            Origin::Job { key, attempt } => format!("manifests/{key}/{attempt}"),
            Origin::Checkpoint { key, attempt, step } => format!("checkpoints/{key}/{attempt}/{step}"),
            Origin::Import => format!("manifests/imports/{digest}"),
        };
        Ok((ArtifactRef { path, digest }, bytes.into()))
    }

    /// Reads what `encode` wrote under the key `object`.
    ///
    /// # Errors
    /// When it is no manifest of this format, or one of its paths leads out of the artifact.
    pub fn decode(object: &str, bytes: &[u8]) -> Result<Self> {
        let wrong = |reason: String| ArtifactError::Manifest { object: object.to_owned(), reason };
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(wrong(format!("has format {}; this build reads {FORMAT}", manifest.format)));
        }
        check_paths(&manifest.files)?;
        Ok(manifest)
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

fn check_paths(files: &[FileEntry]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for FileEntry { path, .. } in files {
        let wrong = |reason| Err(ArtifactError::Path { path: path.clone(), reason });
        if path.contains(['\\', '\0']) {
            return wrong("it holds a backslash or a zero byte");
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return wrong("it is absolute, or one of its parts is empty, `.` or `..`");
        }
        if !seen.insert(path) {
            return wrong("it is there twice");
        }
    }
    Ok(())
}

/// The same JSON with every object's keys in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> =
                fields.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> FileEntry {
        FileEntry { path: path.to_owned(), size: 1, sha256: hash_bytes(b"x").digest }
    }

    fn job() -> Origin {
        Origin::Job { key: JobKey(hash_bytes(b"key").digest), attempt: Attempt(2) }
    }

    #[test]
    fn the_order_of_files_and_figures_does_not_change_the_bytes() {
        let mut one = Manifest::new("adapter", job(), vec![entry("b"), entry("a/c")]).unwrap();
        let mut two = Manifest::new("adapter", job(), vec![entry("a/c"), entry("b")]).unwrap();
        one.metrics = serde_json::json!({"z": 1, "a": {"y": [1.5], "x": null}});
        two.metrics = serde_json::json!({"a": {"x": null, "y": [1.5]}, "z": 1});
        let (reference, bytes) = one.encode().unwrap();
        assert_eq!((reference.clone(), bytes.clone()), two.encode().unwrap());
        assert_eq!(
            Manifest::decode(&reference.path, &bytes).unwrap(),
            Manifest { metrics: sorted(&one.metrics), ..one }
        );
    }

    #[test]
    fn frozen_bytes_stay_readable() {
        let manifest = Manifest::new("adapter", job(), vec![entry("a")]).unwrap();
        let (reference, bytes) = manifest.encode().unwrap();
        let expected = concat!(
            r#"{"format":1,"role":"adapter","origin":{"from":"job","key":"2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683","#,
            r#""attempt":2},"files":[{"path":"a","size":1,"sha256":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}],"#,
            r#""inputs":{},"metrics":{},"versions":{}}"#
        );
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), expected);
        let key = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
        assert_eq!(reference.path, format!("manifests/{key}/2"));
    }

    #[test]
    fn paths_that_lead_out_are_refused_in_writing_and_reading() {
        for path in ["", "/etc/passwd", "../up", "a/../../b", "a//b", "a/", "./a", "a\\..\\b", "a\0b"] {
            let error = Manifest::new("x", Origin::Import, vec![entry(path)]).unwrap_err();
            assert!(matches!(error, ArtifactError::Path { .. }), "{path}");
            let mut manifest = Manifest::new("x", Origin::Import, vec![entry("fine")]).unwrap();
            manifest.files[0].path = path.to_owned();
            let (reference, bytes) = manifest.encode().unwrap();
            assert!(Manifest::decode(&reference.path, &bytes).is_err(), "{path}");
        }
        assert!(Manifest::new("x", Origin::Import, vec![entry("a"), entry("a")]).is_err());
        assert!(Manifest::new("x", Origin::Import, vec![entry("..a/b..c/..."), entry("ü#1")]).is_ok());
    }

    #[test]
    fn another_format_is_refused() {
        let (_, bytes) = Manifest::new("x", Origin::Import, vec![]).unwrap().encode().unwrap();
        let other = String::from_utf8(bytes.to_vec()).unwrap().replace("\"format\":1", "\"format\":9");
        let error = Manifest::decode("manifests/m", other.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "manifest `manifests/m`: has format 9; this build reads 1");
    }
}
