//! A model's text to calls, as the official decoder for prompting mode reads it.

use std::collections::HashMap;

use super::evaluate::Evaluator;
use super::python::{Argument, Expr, Suffix, SyntaxError, parse, unparse, unparse_before_last};
use super::value::{Call, Value};

/// The text is not a list of calls, or an argument has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ast_decoder:decoder_failed")]
pub struct DecodeError;

impl From<SyntaxError> for DecodeError {
    fn from(_: SyntaxError) -> Self {
        Self
    }
}

/// Decodes a model's raw text into calls, in order.
///
/// # Errors
/// The text, with brackets added where it lacks them, is not a Python list of calls whose keyword arguments are
/// literals or what the official decoder takes for them. Also an expression that would cost too much to evaluate.
pub fn decode(text: &str) -> Result<Vec<Call>, DecodeError> {
    let trimmed = text.trim_matches(['`', '\n', ' ']);
    let open = if trimmed.starts_with('[') { "" } else { "[" };
    let mut source = format!("{open}{trimmed}");
    if !source.ends_with(']') {
        source.push(']');
    }
    let mut resolver = Resolver { evaluator: Evaluator::new() };
    match &parse(&source)? {
        Expr::List(items) | Expr::Tuple(items) => items.iter().map(|item| resolver.call(item)).collect(),
        single => Ok(vec![resolver.call(single)?]),
    }
}

struct Resolver {
    evaluator: Evaluator,
}

/// The base and suffixes of a call, and its arguments.
fn as_call(expr: &Expr) -> Option<(&Expr, &[Suffix], &[Argument])> {
    let Expr::Suffixed(base, suffixes) = expr else { return None };
    match suffixes.split_last()? {
        (Suffix::Call(arguments), before) => Some((base, before, arguments)),
        _ => None,
    }
}

/// The dotted name before a call's parentheses. What is neither a name nor an attribute adds nothing.
fn function_name(base: &Expr, suffixes: &[Suffix]) -> String {
    let attributes = suffixes.iter().rev().map_while(|suffix| match suffix {
        Suffix::Attribute(name) => Some(name.as_str()),
        Suffix::Call(_) | Suffix::Subscript(_) => None,
    });
    let mut parts: Vec<&str> = attributes.collect();
    if let (Expr::Name(name), true) = (base, parts.len() == suffixes.len()) {
        parts.push(name);
    }
    parts.reverse();
    parts.join(".")
}

impl Resolver {
    fn call(&mut self, expr: &Expr) -> Result<Call, DecodeError> {
        let (base, suffixes, arguments) = as_call(expr).ok_or(DecodeError)?;
        let mut places = HashMap::new();
        let mut args: Vec<(String, Value)> = Vec::new();
        for argument in arguments {
            let (name, value) = match argument {
                Argument::Positional(_) => continue,
                Argument::Keyword(name, value) => (name.as_str(), value),
                Argument::Unpacked(value) => ("**", value),
            };
            let value = self.value(value)?;
            let place = *places.entry(name).or_insert(args.len());
            match args.get_mut(place) {
                Some(slot) => slot.1 = value,
                None => args.push((name.to_owned(), value)),
            }
        }
        Ok(Call { name: function_name(base, suffixes), args })
    }

    fn value(&mut self, expr: &Expr) -> Result<Value, DecodeError> {
        match expr {
            Expr::Constant(Value::Ellipsis) => Ok(Value::str("...")),
            Expr::Constant(value) => Ok(value.clone()),
            Expr::Name(name) => Ok(Value::str(name)),
            Expr::Unary(_, operand) => negated(operand),
            Expr::Binary(..) => self.evaluator.evaluate(expr).ok_or(DecodeError),
            Expr::List(items) => Ok(Value::List(self.values(items)?)),
            Expr::Tuple(items) => Ok(Value::Tuple(self.values(items)?)),
            Expr::Dict(pairs) => {
                let mut resolved = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    let key = self.value(key.as_ref().ok_or(DecodeError)?)?;
                    resolved.push((key, self.value(value)?));
                }
                Value::dict(resolved).ok_or(DecodeError)
            }
            Expr::Suffixed(base, suffixes) => self.suffixed(expr, base, suffixes),
            Expr::Format(_)
            | Expr::Set(_)
            | Expr::Starred(_)
            | Expr::Compare(..)
            | Expr::Logical(..)
            | Expr::Conditional { .. }
            | Expr::Lambda(..)
            | Expr::Named(..)
            | Expr::Await(_)
            | Expr::Yield(_)
            | Expr::YieldFrom(_)
            | Expr::Comprehension(_)
            | Expr::Slice(_) => Err(DecodeError),
        }
    }

    fn values(&mut self, items: &[Expr]) -> Result<Vec<Value>, DecodeError> {
        items.iter().map(|item| self.value(item)).collect()
    }

    /// A call with keywords is a dict, a call without and a subscript are their own source text.
    fn suffixed(&mut self, expr: &Expr, base: &Expr, suffixes: &[Suffix]) -> Result<Value, DecodeError> {
        match suffixes.last() {
            Some(Suffix::Call(arguments))
                if arguments.iter().all(|a| matches!(a, Argument::Positional(_))) =>
            {
                Ok(Value::Str(unparse(expr)?))
            }
            Some(Suffix::Call(_)) => {
                let Call { name, args } = self.call(expr)?;
                let key = |name: String| if name == "**" { Value::None } else { Value::Str(name) };
                let args = args.into_iter().map(|(name, value)| (key(name), value)).collect();
                Ok(Value::Dict(vec![(Value::Str(name), Value::Dict(args))]))
            }
            Some(Suffix::Subscript(index)) => {
                Ok(Value::Str(format!("{}[{}]", unparse_before_last(base, suffixes)?, unparse(index)?)))
            }
            Some(Suffix::Attribute(_)) | None => Err(DecodeError),
        }
    }
}

/// The decoder negates whatever the unary operator is; only number and truth literals can be negated.
fn negated(operand: &Expr) -> Result<Value, DecodeError> {
    match operand {
        Expr::Constant(Value::Bool(b)) => Ok(Value::Int((-i32::from(*b)).into())),
        Expr::Constant(Value::Int(i)) => Ok(Value::Int(-i)),
        Expr::Constant(Value::Float(f)) => Ok(Value::Float(-f)),
        Expr::Constant(Value::Complex(re, im)) => Ok(Value::Complex(-re, -im)),
        _ => Err(DecodeError),
    }
}
