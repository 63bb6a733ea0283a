//! Python values that a call's arguments can take, with Python's equality.

use std::collections::HashMap;

use num_bigint::BigInt;
use num_traits::{FromPrimitive, ToPrimitive};

/// A Python value.
///
/// `==` is Python's: `True == 1 == 1.0`, exact between integers and floats; a tuple never equals a list.
/// A lone surrogate, which Python strings can hold and Rust's cannot, is kept as the private-use
/// character U+100000 above it: still one character that equals no other text.
#[derive(Debug, Clone)]
pub enum Value {
    /// `None`
    None,
    /// `...` as a value of an evaluated expression
    Ellipsis,
    /// `True` or `False`
    Bool(bool),
    /// an unbounded integer
    Int(BigInt),
    /// a double
    Float(f64),
    /// real and imaginary part
    Complex(f64, f64),
    /// text
    Str(String),
    /// bytes
    Bytes(Vec<u8>),
    /// a list
    List(Vec<Value>),
    /// a tuple
    Tuple(Vec<Value>),
    /// keys and values in insertion order; keys are hashable and distinct (see [`Value::dict`])
    Dict(Vec<(Value, Value)>),
}

/// One function call: its dotted name and keyword arguments in source order.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// function name, dots included; empty where the called expression has none
    pub name: String,
    /// argument names (distinct) and values; an unpacked `**x` has the name `**`
    pub args: Vec<(String, Value)>,
}

impl Value {
    /// Text as a value.
    pub fn str(text: impl Into<String>) -> Self {
        Self::Str(text.into())
    }

    /// A dict out of pairs: an equal key that comes later replaces the value but keeps the place.
    /// `None` when a key is not hashable.
    pub fn dict(pairs: impl IntoIterator<Item = (Value, Value)>) -> Option<Self> {
        let mut places = HashMap::new();
        let mut out: Vec<(Value, Value)> = Vec::new();
        for (key, value) in pairs {
            let place = *places.entry(key.hash_key()?).or_insert(out.len());
            match out.get_mut(place) {
                Some(slot) => slot.1 = value,
                None => out.push((key, value)),
            }
        }
        Some(Self::Dict(out))
    }

    /// A JSON document as Python reads it.
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::None,
            serde_json::Value::Bool(b) => Self::Bool(*b),
            serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(i), _) => Self::Int(i.into()),
                (None, Some(u)) => Self::Int(u.into()),
                (None, None) => Self::Float(n.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(s) => Self::Str(s.clone()),
            serde_json::Value::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(map) => {
                Self::Dict(map.iter().map(|(k, v)| (Self::str(k), Self::from_json(v))).collect())
            }
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) => Some(s),
            _ => None,
        }
    }

    /// A text that two hashable values share exactly when they are equal; `None` for lists and dicts.
    fn hash_key(&self) -> Option<String> {
        Some(match self {
            Self::None => "none".to_owned(),
            Self::Ellipsis => "...".to_owned(),
            Self::Bool(b) => format!("i{}", u8::from(*b)),
            Self::Int(i) => format!("i{i:x}"),
            Self::Float(f) => match integral(*f) {
                Some(i) => format!("i{i:x}"),
                None => format!("f{:x}", f.to_bits()),
            },
            Self::Complex(re, im) if *im == 0.0 => Self::Float(*re).hash_key()?,
            Self::Complex(re, im) => format!("c{:x} {:x}", re.to_bits(), im.to_bits()),
            Self::Str(s) => format!("s{}:{s}", s.len()),
            Self::Bytes(b) => format!("b{b:?}"),
            Self::Tuple(items) => {
                let parts = items.iter().map(Self::hash_key).collect::<Option<Vec<_>>>()?;
                format!("({})", parts.join(","))
            }
            Self::List(_) | Self::Dict(_) => return None,
        })
    }

    /// A number as real and imaginary part, if both are doubles exactly; for comparison with complex numbers.
    fn as_complex(&self) -> Option<(f64, f64)> {
        match self {
            Self::Bool(b) => Some((f64::from(u8::from(*b)), 0.0)),
            Self::Int(i) => i.to_f64().filter(|f| integral(*f).as_ref() == Some(i)).map(|f| (f, 0.0)),
            Self::Float(f) => Some((*f, 0.0)),
            Self::Complex(re, im) => Some((*re, *im)),
            _ => None,
        }
    }
}

/// The integer that a double equals, if there is one.
pub(crate) fn integral(f: f64) -> Option<BigInt> {
    if f.is_finite() && f.fract() == 0.0 { BigInt::from_f64(f) } else { None }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) | (Self::Ellipsis, Self::Ellipsis) => true,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| b.iter().any(|(k, v)| k == key && v == value))
            }
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Bool(a), Self::Int(b)) | (Self::Int(b), Self::Bool(a)) => *b == BigInt::from(*a),
            _ => matches!((self.as_complex(), other.as_complex()), (Some(a), Some(b)) if a == b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_pythons() {
        let one = Value::Int(1.into());
        assert_eq!(one, Value::Float(1.0));
        assert_eq!(Value::Bool(true), one);
        assert_eq!(Value::Complex(1.0, 0.0), Value::Bool(true));
        let big = BigInt::from(1u64 << 53) + 1;
        assert_ne!(Value::Int(big), Value::Float((1u64 << 53) as f64));
        assert_ne!(Value::Tuple(vec![one.clone()]), Value::List(vec![one.clone()]));
        assert_ne!(Value::str("1"), one);
        assert_ne!(Value::Float(f64::NAN), Value::Float(f64::NAN));
    }

    #[test]
    fn equal_keys_replace_the_value_and_keep_the_place() {
        let pairs = vec![
            (Value::Int(1.into()), Value::str("a")),
            (Value::str("k"), Value::None),
            (Value::Float(1.0), Value::str("b")),
            (Value::Bool(true), Value::str("c")),
        ];
        let dict = Value::dict(pairs).unwrap();
        assert_eq!(dict.to_string(), "{1: 'c', 'k': None}");
        assert!(Value::dict(vec![(Value::List(vec![]), Value::None)]).is_none());
    }
}
