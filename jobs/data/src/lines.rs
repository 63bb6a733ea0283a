//! JSON lines: one object a line, read with file and line in every error, written with equal bytes for equal content.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::error::{DataError, Problem};

/// Calls `each` with every line's number (from 1) and object.
///
/// # Errors
/// A file that cannot be read, a line that is not an object (an empty one included), or what `each` finds.
pub(crate) fn read(
    path: &Path,
    mut each: impl FnMut(usize, Value) -> Result<(), Problem>,
) -> Result<(), DataError> {
    let io_error = |source| DataError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let number = index + 1;
        let text = line.map_err(io_error)?;
        let object = serde_json::from_str::<Value>(&text)
            .map_err(|e| Problem::new("line", format!("not JSON: {e}")).at(path, number))?;
        if !object.is_object() {
            return Err(Problem::new("line", "expected an object").at(path, number));
        }
        each(number, object).map_err(|problem| problem.at(path, number))?;
    }
    Ok(())
}

/// One line per item.
pub(crate) fn write<T: Serialize>(items: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        #[expect(clippy::expect_used, reason = "our line types have string keys and write to memory")]
        serde_json::to_writer(&mut out, &item).expect("a line serialises");
        out.push(b'\n');
    }
    out
}

/// A field that must be text.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> Result<&'a str, Problem> {
    present(object, field)?.as_str().ok_or_else(|| Problem::new(field, "expected a string"))
}

/// A field that must be a list.
pub(crate) fn list<'a>(object: &'a Value, field: &str) -> Result<&'a [Value], Problem> {
    present(object, field)?
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| Problem::new(field, "expected a list"))
}

fn present<'a>(object: &'a Value, field: &str) -> Result<&'a Value, Problem> {
    object.get(field).ok_or_else(|| Problem::new(field, "missing"))
}
