//! Job keys: the SHA-256 of everything that determines a job's result.

use std::collections::BTreeMap;

use proto::id::{Digest, JobKey};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::job::{Input, JobSpec};

/// Version of what job kinds compute from a spec. Raise it when the same spec would give other bytes.
pub const FORMAT: u32 = 1;

/// A spec that cannot be written as JSON (a non-finite number).
#[derive(Debug, thiserror::Error)]
#[error("the job spec cannot be hashed: {0}")]
pub struct KeyError(#[from] serde_json::Error);

/// The key of a job: spec and inputs in canonical JSON (sorted keys), under [`FORMAT`].
///
/// # Errors
/// When the spec holds a number that JSON cannot express.
pub fn job_key(spec: &JobSpec, inputs: &BTreeMap<String, Input>) -> Result<JobKey, KeyError> {
    #[derive(Serialize)]
    struct Identity<'a> {
        format: u32,
        inputs: &'a BTreeMap<String, Input>,
        spec: &'a JobSpec,
    }
    let identity = serde_json::to_value(Identity { format: FORMAT, inputs, spec })?;
    Ok(JobKey(digest_of(canonical(&identity).as_bytes())))
}

/// The SHA-256 of some bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

/// JSON with sorted keys and Python's default separators (`", "`, `": "`), non-ASCII kept: the paper's canonical form of a schema.
pub fn canonical(value: &serde_json::Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        serde_json::Value::Object(map) => {
            let mut sorted: Vec<_> = map.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, item)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_text(key, out);
                out.push_str(": ");
                write_canonical(item, out);
            }
            out.push('}');
        }
        serde_json::Value::String(text) => write_text(text, out),
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// A text as JSON; most have nothing to escape.
fn write_text(text: &str, out: &mut String) {
    if text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        out.push_str(&serde_json::Value::from(text).to_string());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::GateSpec;
    use crate::manifest::Gate;

    #[test]
    fn canonical_json_sorts_keys_at_every_depth() {
        let value = serde_json::json!({"b": [1, {"z": null, "a": "ü"}], "a": 0.5});
        assert_eq!(canonical(&value), r#"{"a": 0.5, "b": [1, {"a": "ü", "z": null}]}"#);
    }

    #[test]
    fn a_key_depends_on_spec_and_inputs_alone() {
        let spec = |lambda| JobSpec::Gate(GateSpec { gate: Gate { lambda, ..Gate::default() }, seed: 1 });
        let inputs =
            |byte| BTreeMap::from([("dataset".to_owned(), Input::Artifact(Digest::new([byte; 32])))]);
        let key = |lambda, byte| job_key(&spec(lambda), &inputs(byte)).unwrap();
        assert_eq!(key(0.6, 1), key(0.6, 1));
        assert_ne!(key(0.6, 1), key(0.4, 1));
        assert_ne!(key(0.6, 1), key(0.6, 2));
    }
}
