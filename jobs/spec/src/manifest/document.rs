//! A manifest's text as checked points: one without a matrix, every combination of values with one.

use std::fmt::{self, Write};

use super::tree::{Item, Mistake, Node};
use super::{Manifest, check, read, tree};

/// Most points that one matrix may span.
const MAX_POINTS: usize = 1_000;

/// A mistake in a manifest: one line with file, line, field and cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// The manifest's file name as the person wrote it.
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// The field as a dotted path with `[i]` for items of lists; empty where the text is not YAML.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.field.is_empty() {
            write_on_one_line(&self.field, f)?;
            f.write_str(": ")?;
        }
        write_on_one_line(&self.what, f)
    }
}

/// Keys and values may hold line breaks, an error may not: control characters become escapes.
fn write_on_one_line(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.chars().try_for_each(|c| match c.is_control() {
        true => write!(f, "{}", c.escape_default()),
        false => f.write_char(c),
    })
}

/// One value of one field that the matrix varies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The field's dotted path.
    pub field: String,
    /// The value, as people read it.
    pub value: String,
}

/// `gate.lambda=0.2`: the path without its leading `stages.`.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field.strip_prefix("stages.").unwrap_or(&self.field);
        write!(f, "{field}={}", self.value)
    }
}

/// One combination of the matrix' values.
#[derive(Clone, Debug)]
pub struct Point {
    /// The varied fields, in order of their paths. Empty without a matrix.
    pub settings: Vec<Setting>,
    /// The manifest with these values, without a matrix.
    pub manifest: Manifest,
    file: String,
    tree: Node,
}

impl Point {
    /// An error at a field of this point, such as a folder that is not there.
    pub fn error(&self, field: &str, what: impl fmt::Display) -> ManifestError {
        let what = what.to_string();
        ManifestError { file: self.file.clone(), line: self.tree.line(field), field: field.to_owned(), what }
    }
}

/// A checked manifest.
#[derive(Clone, Debug)]
pub struct Document {
    /// The sweep's name.
    pub name: String,
    /// Every combination of the matrix' values, the last field changing fastest; one without a matrix.
    pub points: Vec<Point>,
}

/// Reads and checks a manifest. `file` is its name for error messages.
///
/// # Errors
/// The first mistake. Without its matrix the manifest must be valid too.
pub fn parse(text: &str, file: &str) -> Result<Document, ManifestError> {
    let located = |mistake: Mistake| ManifestError {
        file: file.to_owned(),
        line: mistake.line.unwrap_or(1),
        field: mistake.path,
        what: mistake.what,
    };
    let mut root = tree::read(text).map_err(located)?;
    let mut manifest = checked(&root).map_err(located)?;
    let axes = axes(&mut root).map_err(located)?;
    manifest.matrix.clear();
    let name = manifest.name.clone();
    if axes.is_empty() {
        let point = Point { settings: Vec::new(), manifest, file: file.to_owned(), tree: root };
        return Ok(Document { name, points: vec![point] });
    }
    let mut points = vec![(Vec::new(), root)];
    for axis in &axes {
        points = expand(points, axis).map_err(located)?;
    }
    let points = points.into_iter().map(|(settings, tree)| {
        let manifest = checked(&tree).map_err(|mistake| located(blame(mistake, &settings)))?;
        Ok(Point { settings, manifest, file: file.to_owned(), tree })
    });
    Ok(Document { name, points: points.collect::<Result<_, _>>()? })
}

fn checked(root: &Node) -> Result<Manifest, Mistake> {
    let manifest: Manifest = read::value(root)?;
    check::manifest(&manifest)
        .map_err(|mistake| Mistake { line: Some(root.line(&mistake.path)), ..mistake })?;
    Ok(manifest)
}

/// A field that the matrix varies, with its values.
struct Axis {
    field: String,
    values: Vec<Item>,
}

/// Takes the matrix out of the tree.
fn axes(root: &mut Node) -> Result<Vec<Axis>, Mistake> {
    let Some(Node::Map(mut entries)) = root.remove("matrix").map(|entry| entry.node) else {
        return Ok(Vec::new());
    };
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let mut points = 1usize;
    let mut axes = Vec::new();
    for entry in entries {
        let wrong = |line, what: String| {
            Err(Mistake { line: Some(line), path: format!("matrix.{}", entry.key), what })
        };
        let Node::List(values) = entry.node else {
            return wrong(entry.line, format!("must be a list of values, is {}", entry.node));
        };
        if matches!(entry.key.as_str(), "name" | "matrix") {
            return wrong(entry.line, "cannot be varied".to_owned());
        }
        if values.is_empty() {
            return wrong(entry.line, "has no values".to_owned());
        }
        for (i, item) in values.iter().enumerate() {
            let value = item.node.to_string();
            if values.iter().take(i).any(|earlier| earlier.node.to_string() == value) {
                return wrong(item.line, format!("the value {value} stands twice"));
            }
        }
        points = points.saturating_mul(values.len());
        if points > MAX_POINTS {
            return wrong(
                entry.line,
                format!("brings the matrix to {points} points, more than {MAX_POINTS}"),
            );
        }
        axes.push(Axis { field: entry.key, values });
    }
    Ok(axes)
}

type Partial = (Vec<Setting>, Node);

/// Every point with every value of one more field.
fn expand(points: Vec<Partial>, axis: &Axis) -> Result<Vec<Partial>, Mistake> {
    let mut expanded = Vec::with_capacity(points.len() * axis.values.len());
    for (settings, tree) in points {
        for value in &axis.values {
            let (mut settings, mut tree) = (settings.clone(), tree.clone());
            if !tree.set(&axis.field, value) {
                return Err(Mistake {
                    line: Some(value.line),
                    path: format!("matrix.{}", axis.field),
                    what: "leads through a value that has no fields".to_owned(),
                });
            }
            settings.push(Setting { field: axis.field.clone(), value: value.node.to_string() });
            expanded.push((settings, tree));
        }
    }
    Ok(expanded)
}

/// Says which part of the matrix brought a mistake, as the manifest alone has none.
fn blame(mistake: Mistake, settings: &[Setting]) -> Mistake {
    let related = settings.iter().find(|setting| {
        let (short, long) = if setting.field.len() < mistake.path.len() {
            (&setting.field, &mistake.path)
        } else {
            (&mistake.path, &setting.field)
        };
        long.strip_prefix(short.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    });
    match related {
        Some(_) => Mistake { path: format!("matrix.{}", mistake.path), ..mistake },
        None => {
            let point = settings.iter().map(Setting::to_string).collect::<Vec<_>>().join(", ");
            Mistake { what: format!("{} (at the matrix' point {point})", mistake.what), ..mistake }
        }
    }
}
