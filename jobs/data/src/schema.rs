//! The typed view of a schema's parameters, for validation and synthesis. Both BFCL's dialect (`dict`, `float`) and JSON Schema's words
//! (`object`, `number`) are understood.

use serde_json::Value;

/// What a parameter's value must be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Float,
    Boolean,
    /// `array` and `tuple`, with what their items must be, if the schema says so.
    List(Option<Box<Parameter>>),
    /// `dict`, with its fields; none listed: anything goes.
    Dict(Vec<Parameter>),
    Any,
}

impl Kind {
    /// The type's name in schemas.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::List(_) => "array",
            Self::Dict(_) => "dict",
            Self::Any => "any",
        }
    }
}

/// One parameter of a tool, or one field of a dict, or the items of a list (then without a name).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) description: String,
    pub(crate) default: Option<Value>,
    /// The values of `enum`, if there is one.
    pub(crate) choices: Vec<Value>,
    pub(crate) format: Option<String>,
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
}

/// The parameters of a tool's schema, in document order. What the schema leaves out is taken as "anything".
pub(crate) fn parameters(schema: &Value) -> Vec<Parameter> {
    fields(schema.get("parameters").unwrap_or(&Value::Null))
}

fn fields(object: &Value) -> Vec<Parameter> {
    let required = object.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let Some(properties) = object.get("properties").and_then(Value::as_object) else { return Vec::new() };
    properties
        .iter()
        .map(|(name, document)| {
            let is_required = required.iter().any(|r| r.as_str() == Some(name));
            parameter(name, document, is_required)
        })
        .collect()
}

fn parameter(name: &str, document: &Value, required: bool) -> Parameter {
    let text = |field: &str| document.get(field).and_then(Value::as_str).map(str::to_owned);
    let number = |field: &str| document.get(field).and_then(Value::as_f64);
    Parameter {
        name: name.to_owned(),
        kind: kind(document),
        required,
        description: text("description").unwrap_or_default(),
        default: document.get("default").filter(|default| !default.is_null()).cloned(),
        choices: document.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        format: text("format"),
        minimum: number("minimum"),
        maximum: number("maximum"),
    }
}

fn kind(document: &Value) -> Kind {
    let word = match document.get("type") {
        Some(Value::Array(words)) => words.first().and_then(Value::as_str),
        Some(word) => word.as_str(),
        None => None,
    };
    match word {
        Some("string") => Kind::Text,
        Some("integer") => Kind::Integer,
        Some("float" | "number") => Kind::Float,
        Some("boolean") => Kind::Boolean,
        Some("array" | "tuple") => {
            Kind::List(document.get("items").map(|items| Box::new(parameter("", items, true))))
        }
        Some("dict" | "object") => Kind::Dict(fields(document)),
        _ => Kind::Any,
    }
}
