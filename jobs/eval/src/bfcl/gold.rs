//! What the checker compares with: the typed view of a function doc, and the acceptable answers.

use serde_json::Value as Json;

use super::value::{Call, Value};

/// A parameter type of the function docs, by the Python type it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// `string` and `any`: a Python `str`
    Str,
    /// `integer`
    Int,
    /// `float`
    Float,
    /// `boolean`
    Bool,
    /// `array`
    Array,
    /// `tuple`: a list too, after conversion
    Tuple,
    /// `dict`
    Dict,
}

/// One parameter of a function doc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamDoc {
    /// declared type
    pub kind: ParamType,
    /// declared element type; only for arrays and tuples
    pub items: Option<ParamType>,
}

/// The part of a function doc that decides a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionDoc {
    /// dotted function name
    pub name: String,
    /// parameters in document order
    pub params: Vec<(String, ParamDoc)>,
    /// names of parameters that must be given
    pub required: Vec<String>,
}

/// One call of a gold answer.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldCall {
    /// dotted function name
    pub name: String,
    /// per parameter the acceptable values; `""` among them means that it may be left out
    pub params: Vec<(String, Vec<Value>)>,
}

/// What is wrong with a document, and at which field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// the field at fault
    pub field: String,
    /// what is wrong with it
    pub problem: &'static str,
}

fn wrong(field: impl Into<String>, problem: &'static str) -> FieldError {
    FieldError { field: field.into(), problem }
}

impl ParamType {
    fn parse(json: Option<&Json>, field: &str) -> Result<Self, FieldError> {
        match json.and_then(Json::as_str) {
            Some("string" | "any") => Ok(Self::Str),
            Some("integer") => Ok(Self::Int),
            Some("float") => Ok(Self::Float),
            Some("boolean") => Ok(Self::Bool),
            Some("array") => Ok(Self::Array),
            Some("tuple") => Ok(Self::Tuple),
            Some("dict") => Ok(Self::Dict),
            Some(_) => Err(wrong(field, "unknown type")),
            None => Err(wrong(field, "expected a type name")),
        }
    }
}

impl FunctionDoc {
    /// Reads `{name, parameters: {properties, required}}`; `field` names the document in errors.
    pub(crate) fn parse(json: &Json, field: &str) -> Result<Self, FieldError> {
        let name =
            json["name"].as_str().ok_or_else(|| wrong(format!("{field}.name"), "expected a string"))?;
        let field = format!("{field}.parameters");
        let properties = json["parameters"]["properties"]
            .as_object()
            .ok_or_else(|| wrong(format!("{field}.properties"), "expected an object"))?;
        let required = json["parameters"]["required"]
            .as_array()
            .and_then(|names| names.iter().map(|n| n.as_str().map(str::to_owned)).collect())
            .ok_or_else(|| wrong(format!("{field}.required"), "expected a list of strings"))?;
        let mut params = Vec::with_capacity(properties.len());
        for (name, doc) in properties {
            let field = format!("{field}.properties.{name}");
            let kind = ParamType::parse(doc.get("type"), &format!("{field}.type"))?;
            let items = match kind {
                ParamType::Array | ParamType::Tuple => {
                    Some(ParamType::parse(doc["items"].get("type"), &format!("{field}.items.type"))?)
                }
                _ => None,
            };
            params.push((name.clone(), ParamDoc { kind, items }));
        }
        Ok(Self { name: name.to_owned(), params, required })
    }

    /// The parameter of that name.
    pub fn param(&self, name: &str) -> Option<&ParamDoc> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, doc)| doc)
    }
}

impl GoldCall {
    /// Reads `{name: {parameter: [value, ...]}}`; `field` names the call in errors.
    pub(crate) fn parse(json: &Json, field: &str) -> Result<Self, FieldError> {
        let mut entries = json.as_object().into_iter().flatten();
        let (Some((name, params)), None) = (entries.next(), entries.next()) else {
            return Err(wrong(field, "expected an object with one key"));
        };
        let field = format!("{field}.{name}");
        let params = params.as_object().ok_or_else(|| wrong(&field, "expected an object"))?;
        let params = params
            .iter()
            .map(|(param, alternatives)| match alternatives.as_array() {
                Some(list) => Ok((param.clone(), list.iter().map(Value::from_json).collect())),
                None => Err(wrong(format!("{field}.{param}"), "expected a list of values")),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { name: name.clone(), params })
    }

    /// The acceptable values of a parameter.
    pub fn alternatives(&self, name: &str) -> Option<&[Value]> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, values)| values.as_slice())
    }

    /// The call that gives every parameter its first acceptable value.
    ///
    /// Parameters that `doc` lacks, and optional ones with no value but "left out", are not given.
    pub fn first_answer(&self, doc: &FunctionDoc) -> Call {
        let mut args = Vec::new();
        for (name, alternatives) in &self.params {
            let Some(param) = doc.param(name) else { continue };
            let value = match first_value(alternatives) {
                Some(value) => value,
                None if doc.required.contains(name) && !alternatives.is_empty() => Value::str(""),
                None => continue,
            };
            args.push((name.clone(), as_declared(value, param.kind)));
        }
        Call { name: self.name.clone(), args }
    }
}

fn as_declared(value: Value, kind: ParamType) -> Value {
    match (value, kind) {
        (Value::List(items), ParamType::Tuple) => Value::Tuple(items),
        (value, _) => value,
    }
}

/// The first alternative that is not the mark for "left out", with dicts made concrete.
fn first_value(alternatives: &[Value]) -> Option<Value> {
    let first = alternatives.iter().find(|a| a.as_str() != Some(""))?;
    Some(match first {
        Value::List(items) if items.iter().any(|i| matches!(i, Value::Dict(_))) => {
            Value::List(items.iter().map(concrete).collect())
        }
        other => concrete(other),
    })
}

/// Dicts of a gold answer hold a list of alternatives under every key.
fn concrete(value: &Value) -> Value {
    match value {
        Value::Dict(pairs) => Value::Dict(
            pairs
                .iter()
                .filter_map(|(key, alternatives)| match alternatives {
                    Value::List(list) => first_value(list).map(|v| (key.clone(), v)),
                    other => Some((key.clone(), other.clone())),
                })
                .collect(),
        ),
        other => other.clone(),
    }
}
