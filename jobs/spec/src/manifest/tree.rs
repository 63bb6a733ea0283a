//! YAML as a tree that knows its lines, so that every later mistake can say where it stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

/// A value of the text.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Whole(u64),
    Negative(i64),
    Number(f64),
    Text(String),
    List(Vec<Item>),
    Map(Vec<Entry>),
}

/// A value in a list, with its line.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) line: u64,
    pub(super) node: Node,
}

/// A value in a mapping, with its key's line.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u64,
    pub(super) node: Node,
}

/// What is wrong, where: a dotted path and a line, either of them unknown as long as no reader has added it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) line: Option<u64>,
    pub(super) path: String,
    pub(super) what: String,
}

/// Reads a text as a tree.
pub(super) fn read(text: &str) -> Result<Node, Mistake> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    let node: Node = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        Mistake {
            line: error.location().map(|location| location.line()),
            path: String::new(),
            what: message.lines().next().unwrap_or("not YAML").to_owned(),
        }
    })?;
    no_duplicates(&node, "")?;
    Ok(node)
}

fn no_duplicates(node: &Node, path: &str) -> Result<(), Mistake> {
    match node {
        Node::Map(entries) => entries.iter().enumerate().try_for_each(|(i, entry)| {
            let path = join(path, &entry.key);
            match entries.iter().take(i).find(|earlier| earlier.key == entry.key) {
                Some(earlier) => Err(Mistake {
                    line: Some(entry.line),
                    path,
                    what: format!("duplicate key, first on line {}", earlier.line),
                }),
                None => no_duplicates(&entry.node, &path),
            }
        }),
        Node::List(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(i, item)| no_duplicates(&item.node, &format!("{path}[{i}]"))),
        _ => Ok(()),
    }
}

/// The path of a field below another.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Node {
    /// The line of a dotted path with `[i]` for items, or of the nearest thing above it that the text has.
    pub(super) fn line(&self, path: &str) -> u64 {
        let mut line = 1;
        let mut node = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let child = match node {
                Node::Map(entries) => {
                    entries.iter().find(|entry| entry.key == step).map(|entry| (entry.line, &entry.node))
                }
                Node::List(items) => step
                    .strip_suffix(']')
                    .and_then(|index| items.get(index.parse::<usize>().ok()?))
                    .map(|item| (item.line, &item.node)),
                _ => None,
            };
            let Some((child_line, child)) = child else { break };
            (line, node) = (child_line, child);
        }
        line
    }

    /// Takes an entry out of a mapping.
    pub(super) fn remove(&mut self, key: &str) -> Option<Entry> {
        let Node::Map(entries) = self else { return None };
        let at = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(at))
    }

    /// Puts a value at a dotted path, making the mappings on the way. False where something on the way is no mapping.
    pub(super) fn set(&mut self, path: &str, item: &Item) -> bool {
        let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
        if matches!(self, Node::Null) {
            *self = Node::Map(Vec::new());
        }
        let Node::Map(entries) = self else { return false };
        let at = entries.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
            entries.push(Entry { key: key.to_owned(), line: item.line, node: Node::Null });
            entries.len() - 1
        });
        let Some(entry) = entries.get_mut(at) else { return false };
        match rest {
            Some(rest) => entry.node.set(rest, item),
            None => {
                entry.line = item.line;
                entry.node = item.node.clone();
                true
            }
        }
    }
}

/// For error messages and labels: scalars as written, the rest by its kind.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Null => f.write_str("nothing"),
            Node::Bool(value) => value.fmt(f),
            Node::Whole(value) => value.fmt(f),
            Node::Negative(value) => value.fmt(f),
            Node::Number(value) => value.fmt(f),
            Node::Text(value) => f.write_str(value),
            Node::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if i > 0 { "," } else { "" }, item.node)?;
                }
                f.write_str("]")
            }
            Node::Map(entries) => {
                f.write_str("{")?;
                for (i, entry) in entries.iter().enumerate() {
                    write!(f, "{}{}:{}", if i > 0 { "," } else { "" }, entry.key, entry.node)?;
                }
                f.write_str("}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(u64::try_from(value).map_or(Node::Negative(value), Node::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Node>>()? {
            items.push(Item { line: item.referenced.line(), node: item.value });
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push(Entry { key: key.value, line: key.referenced.line(), node: map.next_value()? });
        }
        Ok(Node::Map(entries))
    }
}
