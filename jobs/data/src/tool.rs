//! Tools: function schemas and their two identities.

use jobs_spec::key::canonical;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::Problem;
use crate::lines;

/// Fields of a stored tool that are not part of its schema: its traces, and the sentences that our synthesiser may ask with.
const NOT_SCHEMA: [&str; 2] = ["training_data", "phrasings"];

/// One function schema. Two tools are the same when their whole documents are, whatever the order of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Identity: 32 hex digits, the first half of the SHA-256 of the canonical schema.
    pub key: String,
    /// Function name, dots included.
    pub name: String,
    /// The document as published, keys in their order.
    pub schema: Value,
}

impl Tool {
    /// A tool from its stored document; `training_data` and `phrasings` are left out of the schema.
    ///
    /// # Errors
    /// A document without a `name` or an object of `parameters`.
    pub fn new(mut document: Value) -> Result<Self, Problem> {
        if let Some(fields) = document.as_object_mut() {
            fields.retain(|field, _| is_schema(field));
        }
        Self::with_schema(document)
    }

    /// [`Self::new`] of a document that stays where it is; what is left out is not copied.
    ///
    /// # Errors
    /// The same.
    pub fn of(document: &Value) -> Result<Self, Problem> {
        Self::with_schema(match document {
            Value::Object(fields) => {
                let schema = fields.iter().filter(|(field, _)| is_schema(field));
                schema.map(|(field, value)| (field.clone(), value.clone())).collect()
            }
            other => other.clone(),
        })
    }

    fn with_schema(document: Value) -> Result<Self, Problem> {
        let name = lines::text(&document, "name")?.to_owned();
        if !document.get("parameters").is_some_and(Value::is_object) {
            return Err(Problem::new("parameters", "expected an object"));
        }
        Ok(Self { key: digest(&document), name, schema: document })
    }
}

fn is_schema(field: &str) -> bool {
    !NOT_SCHEMA.contains(&field)
}

/// The paper's count of tools: identity by the `parameters` object alone, keys sorted.
pub fn parameters_key(schema: &Value) -> String {
    digest(schema.get("parameters").unwrap_or(&Value::Null))
}

fn digest(value: &Value) -> String {
    let hash = Sha256::digest(canonical(value).as_bytes());
    hex::encode(&hash[..16])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn identity_ignores_the_order_of_keys_and_what_is_not_schema() {
        let a = Tool::new(json!({"name": "f", "parameters": {"a": 1, "b": 2}, "training_data": []})).unwrap();
        let b = Tool::new(json!({"parameters": {"b": 2, "a": 1}, "phrasings": ["x"], "name": "f"})).unwrap();
        assert_eq!(a.key, b.key);
        assert_eq!(a.key.len(), 32);
        assert!(a.schema.get("training_data").is_none());
        let c = Tool::new(json!({"name": "g", "parameters": {"a": 1, "b": 2}})).unwrap();
        assert_ne!(a.key, c.key);
        assert_eq!(parameters_key(&a.schema), parameters_key(&c.schema));
    }

    #[test]
    fn a_document_needs_name_and_parameters() {
        assert_eq!(Tool::new(json!({"parameters": {}})).unwrap_err().field, "name");
        assert_eq!(Tool::new(json!({"name": "f", "parameters": []})).unwrap_err().field, "parameters");
    }
}
