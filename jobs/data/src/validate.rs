//! The paper's validation of every call: Python syntax, exact function name, all required parameters, types right or convertible.

use jobs_eval::bfcl::{Call, Value, decode};

use crate::schema::{self, Kind, Parameter};
use crate::tool::Tool;

/// Why a call is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The text is not a Python list of calls.
    #[error("not a list of Python calls")]
    Syntax,
    /// The list is empty.
    #[error("no call in the list")]
    NoCall,
    /// No candidate has that name.
    #[error("`{0}` is no candidate")]
    Name(String),
    /// The schema has no such parameter.
    #[error("`{function}` has no parameter `{parameter}`")]
    Unknown {
        /// The called function.
        function: String,
        /// The parameter.
        parameter: String,
    },
    /// A required parameter is not given.
    #[error("`{function}` needs `{parameter}`")]
    Missing {
        /// The called function.
        function: String,
        /// The parameter.
        parameter: String,
    },
    /// A value cannot be read as the declared type.
    #[error("`{parameter}` of `{function}` is not convertible to {expected}")]
    Type {
        /// The called function.
        function: String,
        /// The parameter.
        parameter: String,
        /// The declared type.
        expected: &'static str,
    },
}

/// Decodes an answer (without status mark) and validates each call against the candidate of its name.
///
/// # Errors
/// The first thing that is wrong.
pub fn answer<'a>(text: &str, candidates: impl Fn(&str) -> Option<&'a Tool>) -> Result<Vec<Call>, CallError> {
    let calls = decode(text).map_err(|_| CallError::Syntax)?;
    if calls.is_empty() {
        return Err(CallError::NoCall);
    }
    for made in &calls {
        let tool = candidates(&made.name).ok_or_else(|| CallError::Name(made.name.clone()))?;
        call(made, tool)?;
    }
    Ok(calls)
}

/// Validates one call of a tool.
///
/// # Errors
/// The first thing that is wrong.
pub fn call(call: &Call, tool: &Tool) -> Result<(), CallError> {
    if call.name != tool.name {
        return Err(CallError::Name(call.name.clone()));
    }
    against(call, &schema::parameters(&tool.schema))
}

pub(crate) fn against(call: &Call, parameters: &[Parameter]) -> Result<(), CallError> {
    let function = || call.name.clone();
    for (name, value) in &call.args {
        let Some(parameter) = parameters.iter().find(|p| p.name == *name) else {
            return Err(CallError::Unknown { function: function(), parameter: name.clone() });
        };
        if !fits(value, parameter) {
            let (function, parameter, expected) = (function(), name.clone(), parameter.kind.name());
            return Err(CallError::Type { function, parameter, expected });
        }
    }
    match parameters.iter().find(|p| p.required && !call.args.iter().any(|(name, _)| *name == p.name)) {
        Some(missing) => Err(CallError::Missing { function: function(), parameter: missing.name.clone() }),
        None => Ok(()),
    }
}

/// Whether a value has the declared type or converts to it without loss.
fn fits(value: &Value, parameter: &Parameter) -> bool {
    match (&parameter.kind, value) {
        (Kind::Any, _) => true,
        (Kind::Text, Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_)) => true,
        (Kind::Integer, Value::Int(_)) => true,
        (Kind::Integer, Value::Float(x)) => x.fract() == 0.0,
        (Kind::Integer, Value::Str(text)) => text.trim().parse::<i64>().is_ok(),
        (Kind::Float, Value::Int(_) | Value::Float(_)) => true,
        (Kind::Float, Value::Str(text)) => text.trim().parse::<f64>().is_ok(),
        (Kind::Boolean, Value::Bool(_)) => true,
        (Kind::Boolean, Value::Str(text)) => {
            text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
        }
        (Kind::List(items), Value::List(values) | Value::Tuple(values)) => {
            items.as_deref().is_none_or(|item| values.iter().all(|value| fits(value, item)))
        }
        (Kind::Dict(fields), Value::Dict(pairs)) => {
            fields.iter().all(|field| match pairs.iter().find(|(key, _)| key.as_str() == Some(&field.name)) {
                Some((_, value)) => fits(value, field),
                None => !field.required,
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_are_held_against_their_schema() {
        let tool =
            Tool::new(json!({"name": "f", "parameters": {"type": "dict", "required": ["a"], "properties": {
            "a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "float"}},
            "c": {"type": "dict", "properties": {"x": {"type": "boolean"}}, "required": ["x"]}}}}))
            .unwrap();
        let check = |text: &str| answer(text, |name| (name == "f").then_some(&tool)).map(|calls| calls.len());
        assert_eq!(check("[f(a=1), f(a='2', b=[1, 2.5], c={'x': True})]"), Ok(2));
        assert_eq!(check("[f(a="), Err(CallError::Syntax));
        assert_eq!(check("[]"), Err(CallError::NoCall));
        assert_eq!(check("[g(a=1)]"), Err(CallError::Name("g".to_owned())));
        let message = |text: &str| check(text).unwrap_err().to_string();
        assert_eq!(message("[f(b=[])]"), "`f` needs `a`");
        assert_eq!(message("[f(a=1, d=2)]"), "`f` has no parameter `d`");
        assert_eq!(message("[f(a=1.5)]"), "`a` of `f` is not convertible to integer");
        assert_eq!(message("[f(a=1, b=['x'])]"), "`b` of `f` is not convertible to array");
        assert_eq!(message("[f(a=1, c={})]"), "`c` of `f` is not convertible to dict");
    }
}
