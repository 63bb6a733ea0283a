//! JSON as Python's `json.dumps` prints it, with non-ASCII characters kept and keys in their given order.

use serde_json::{Number, Value};

/// One line, with Python's default separators: `{"a": 1, "b": [2, 3]}`.
pub fn spaced(value: &Value) -> String {
    Style { indent: None, comma: ", ", colon: ": " }.print(value)
}

/// One line without any blank between tokens: `{"a":1,"b":[2,3]}`.
pub fn compact(value: &Value) -> String {
    Style { indent: None, comma: ",", colon: ":" }.print(value)
}

/// One item a line, each level indented by so many blanks.
pub fn indented(value: &Value, indent: usize) -> String {
    Style { indent: Some(indent), comma: ",", colon: ": " }.print(value)
}

struct Style {
    indent: Option<usize>,
    comma: &'static str,
    colon: &'static str,
}

impl Style {
    fn print(&self, value: &Value) -> String {
        let mut out = String::new();
        self.write(value, 0, &mut out);
        out
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::Array(items) => {
                let write = |item: &Value, out: &mut String| self.write(item, depth + 1, out);
                self.sequence(['[', ']'], items, depth, out, write);
            }
            Value::Object(map) => self.sequence(['{', '}'], map, depth, out, |(key, item), out| {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(self.colon);
                self.write(item, depth + 1, out);
            }),
            Value::Number(number) => out.push_str(&self::number(number)),
            scalar => out.push_str(&scalar.to_string()),
        }
    }

    fn sequence<I: IntoIterator<Item = T, IntoIter: ExactSizeIterator>, T>(
        &self,
        [open, close]: [char; 2],
        items: I,
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(T, &mut String),
    ) {
        let items = items.into_iter();
        let empty = items.len() == 0;
        out.push(open);
        for (i, item) in items.enumerate() {
            if i > 0 {
                out.push_str(self.comma);
            }
            self.line(depth + 1, out);
            write(item, out);
        }
        if !empty {
            self.line(depth, out);
        }
        out.push(close);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}

/// A number as Python prints it: floats below 1e-4 and from 1e16 on have an exponent of sign and at least two digits.
fn number(number: &Number) -> String {
    let text = number.to_string();
    let Some(x) = number.as_f64().filter(|_| number.is_f64()) else { return text };
    if x == 0.0 || (1e-4..1e16).contains(&x.abs()) {
        return format!("{x:?}");
    }
    let text = format!("{x:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{compact, indented, spaced};

    #[test]
    fn prints_what_python_prints() {
        let text = "{\"name\":\"größe\",\"n\":[1,2.50,1e16,1e-5,0.0001,-1.5e300,1e15],\"e\":{},\"l\":[],\"t\":[true,null,\"a\\n\\u0001\\\"\\u007f\"]}";
        let value = serde_json::from_str(text).unwrap();
        // Both expectations were printed by CPython 3.11: json.dumps(json.loads(text), ensure_ascii=False, …).
        let line = "{\"name\": \"größe\", \"n\": [1, 2.5, 1e+16, 1e-05, 0.0001, -1.5e+300, 1000000000000000.0], \"e\": {}, \"l\": [], \"t\": [true, null, \"a\\n\\u0001\\\"\u{7f}\"]}";
        assert_eq!(spaced(&value), line);
        assert_eq!(compact(&value), line.replace(", ", ",").replace(": ", ":"));
        let value = serde_json::json!({"a": [1, {"b": []}], "c": {}, "d": {"e": "ü"}});
        let lines = "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {},\n  \"d\": {\n    \"e\": \"ü\"\n  }\n}";
        assert_eq!(indented(&value, 2), lines);
    }
}
