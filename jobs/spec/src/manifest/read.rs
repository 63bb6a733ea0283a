//! Reads the tree as types: a serde deserializer whose errors know path, line, allowed names and the nearest of them.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{Entry, Item, Mistake, Node, join};

/// The whole tree as a value.
pub(super) fn value<T: DeserializeOwned>(root: &Node) -> Result<T, Mistake> {
    T::deserialize(At { node: root, path: String::new(), line: 1 })
}

/// A node with its place.
struct At<'t> {
    node: &'t Node,
    path: String,
    line: u64,
}

impl<'t> At<'t> {
    fn entry(&self, entry: &'t Entry) -> Self {
        At { node: &entry.node, path: join(&self.path, &entry.key), line: entry.line }
    }

    fn item(&self, index: usize, item: &'t Item) -> Self {
        At { node: &item.node, path: format!("{}[{index}]", self.path), line: item.line }
    }

    fn wrong(&self, what: String) -> Mistake {
        Mistake { line: Some(self.line), path: self.path.clone(), what }
    }

    /// Adds this place to a mistake that does not know its own. A path without a line is a field missing from this one.
    fn place(&self, mistake: Mistake) -> Mistake {
        match mistake.line {
            Some(_) => mistake,
            None if mistake.path.is_empty() => self.wrong(mistake.what),
            None => {
                Mistake { line: Some(self.line), path: join(&self.path, &mistake.path), what: mistake.what }
            }
        }
    }
}

impl<'de, 't> Deserializer<'de> for At<'t> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Whole(value) => visitor.visit_u64(*value),
            Node::Negative(value) => visitor.visit_i64(*value),
            Node::Number(value) => visitor.visit_f64(*value),
            Node::Text(value) => visitor.visit_str(value),
            Node::List(items) => visitor.visit_seq(Items { at: &self, items: items.iter().enumerate() }),
            Node::Map(entries) => {
                visitor.visit_map(Entries { at: &self, entries: entries.iter(), value: None })
            }
        }
        .map_err(|mistake| self.place(mistake))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.node {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    /// Refuses a list, which serde would take as the fields in order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match self.node {
            Node::Map(_) => self.deserialize_any(visitor),
            Node::Null => Err(self.wrong("must be a mapping of fields, is empty".to_owned())),
            other => Err(self.wrong(format!("must be a mapping of fields, is {other}"))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match self.node {
            Node::Text(name) => visitor
                .visit_enum(IntoDeserializer::<Mistake>::into_deserializer(name.as_str()))
                .map_err(|mistake| self.place(mistake)),
            Node::Map(entries) => match entries.as_slice() {
                [entry] => visitor.visit_enum(Chosen { at: &self, entry }),
                _ => Err(self.wrong(format!("needs exactly one of {}", listed(variants)))),
            },
            other => Err(self.wrong(format!("must be one of {}, is {other}", listed(variants)))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The items of a list.
struct Items<'a, 't> {
    at: &'a At<'t>,
    items: std::iter::Enumerate<std::slice::Iter<'t, Item>>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        self.items.next().map(|(index, item)| seed.deserialize(self.at.item(index, item))).transpose()
    }
}

/// The fields of a mapping.
struct Entries<'a, 't> {
    at: &'a At<'t>,
    entries: std::slice::Iter<'t, Entry>,
    value: Option<At<'t>>,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistake> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        let at = self.at.entry(entry);
        let key: StrDeserializer<'_, Mistake> = entry.key.as_str().into_deserializer();
        let key = seed.deserialize(key).map_err(|mistake| at.place(mistake))?;
        self.value = Some(at);
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mistake> {
        match self.value.take() {
            Some(at) => seed.deserialize(at),
            None => Err(self.at.wrong("a value was read before its key".to_owned())),
        }
    }
}

/// The one entry of a mapping that stands for an enum: `{variant: content}`.
struct Chosen<'a, 't> {
    at: &'a At<'t>,
    entry: &'t Entry,
}

impl<'de, 't> EnumAccess<'de> for Chosen<'_, 't> {
    type Error = Mistake;
    type Variant = At<'t>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, At<'t>), Mistake> {
        let at = self.at.entry(self.entry);
        let name: StrDeserializer<'_, Mistake> = self.entry.key.as_str().into_deserializer();
        let variant = seed.deserialize(name).map_err(|mistake| at.place(mistake))?;
        Ok((variant, at))
    }
}

impl<'de> VariantAccess<'de> for At<'_> {
    type Error = Mistake;

    fn unit_variant(self) -> Result<(), Mistake> {
        match self.node {
            Node::Null => Ok(()),
            _ => Err(self.wrong("takes no value".to_owned())),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Mistake> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Mistake> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        self.deserialize_any(visitor)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for Mistake {}

impl serde::de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { what: message.to_string(), ..Self::default() }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("unknown key{}", suggestion(field, expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!("unknown value `{variant}`{}", suggestion(variant, expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { line: None, path: field.to_owned(), what: "missing".to_owned() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("must be {}, is {}", wanted(&expected.to_string()), shown(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

/// The nearest allowed name if one is near, and the allowed names where they are few.
fn suggestion(name: &str, allowed: &[&str]) -> String {
    let nearest = allowed
        .iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(name, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((nearness, candidate)) if nearness >= 0.5 => format!(" (nearest: `{candidate}`)"),
        _ if allowed.is_empty() => String::new(),
        _ => format!(" (allowed: {})", allowed.join(", ")),
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Rust's name of a type, in a person's words.
fn wanted(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u32" => "a whole number of at least 0",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" => "text (in quotes if it looks like a number)",
        "a sequence" => "a list",
        "a map" => "a mapping",
        other => other,
    }
}

fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(value) => format!("`{value}`"),
        Unexpected::Unit => "empty".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}
