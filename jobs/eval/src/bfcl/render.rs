//! Values and calls back to Python source, spelled as Python's `repr` does.

use std::fmt::{self, Write};

use num_bigint::BigInt;

use super::value::{Call, Value};

/// A list of calls as Python source, e.g. `[f(a=1, b='x'), g()]`.
pub fn render_calls(calls: &[Call]) -> String {
    let mut out = String::from("[");
    for (i, call) in calls.iter().enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(out, "{separator}{call}");
    }
    out + "]"
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (i, (name, value)) in self.args.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            let equals = if name == "**" { "" } else { "=" };
            write!(f, "{separator}{name}{equals}{value}")?;
        }
        f.write_char(')')
    }
}

/// Python's `repr`, with infinity written as the literal `1e309` so that it stays source text.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(f, self, "1e309")
    }
}

/// Longest decimal integer that Python converts from or to text, in digits.
pub(crate) const MAX_INT_DIGITS: usize = 4300;

/// An integer's digits; `None` where Python refuses to print it for its length.
pub(crate) fn int_repr(i: &BigInt) -> Option<String> {
    // 14,300 bits are more than 4300 digits; printing far longer integers is slow.
    let text = if i.bits() > 14_300 { return None } else { i.to_string() };
    (text.trim_start_matches('-').len() <= MAX_INT_DIGITS).then_some(text)
}

/// Python's `repr`, infinity included.
pub(crate) fn repr(value: &Value) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_value(&mut out, value, "inf");
    out
}

fn write_value(out: &mut impl Write, value: &Value, infinity: &str) -> fmt::Result {
    match value {
        Value::None => out.write_str("None"),
        Value::Ellipsis => out.write_str("Ellipsis"),
        Value::Bool(true) => out.write_str("True"),
        Value::Bool(false) => out.write_str("False"),
        Value::Int(i) => write!(out, "{i}"),
        Value::Float(x) => out.write_str(&float_repr(*x, infinity)),
        Value::Complex(re, im) => out.write_str(&complex_repr(*re, *im, infinity)),
        Value::Str(s) => write_str(out, s),
        Value::Bytes(b) => write_bytes(out, b),
        Value::List(items) => {
            out.write_char('[')?;
            write_items(out, items, infinity)?;
            out.write_char(']')
        }
        Value::Tuple(items) => {
            out.write_char('(')?;
            write_items(out, items, infinity)?;
            out.write_str(if items.len() == 1 { ",)" } else { ")" })
        }
        Value::Dict(pairs) => {
            out.write_char('{')?;
            for (i, (key, value)) in pairs.iter().enumerate() {
                out.write_str(if i == 0 { "" } else { ", " })?;
                write_value(out, key, infinity)?;
                out.write_str(": ")?;
                write_value(out, value, infinity)?;
            }
            out.write_char('}')
        }
    }
}

fn write_items(out: &mut impl Write, items: &[Value], infinity: &str) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        out.write_str(if i == 0 { "" } else { ", " })?;
        write_value(out, item, infinity)?;
    }
    Ok(())
}

/// A double in Python's shortest form: an exponent below 1e-4 and from 1e16 on.
pub(crate) fn float_repr(x: f64, infinity: &str) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { infinity.to_owned() } else { format!("-{infinity}") };
    }
    let scientific = format!("{x:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..=15 => format!("{x:?}"),
        e => format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs()),
    }
}

fn complex_repr(re: f64, im: f64, infinity: &str) -> String {
    let part = |x: f64| float_repr(x, infinity).trim_end_matches(".0").to_owned();
    if re == 0.0 && re.is_sign_positive() {
        return format!("{}j", part(im));
    }
    let sign = if im.is_sign_negative() { "" } else { "+" };
    format!("({}{sign}{}j)", part(re), part(im))
}

fn write_str(out: &mut impl Write, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            c if c == quote => write!(out, "\\{c}")?,
            c if is_printable(c) => out.write_char(c)?,
            c => match u32::from(c) {
                code @ ..0x100 => write!(out, "\\x{code:02x}")?,
                code @ 0x10_d800..0x10_e000 => write!(out, "\\u{:04x}", code - 0x10_0000)?,
                code @ ..0x1_0000 => write!(out, "\\u{code:04x}")?,
                code => write!(out, "\\U{code:08x}")?,
            },
        }
    }
    out.write_char(quote)
}

fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { b'"' } else { b'\'' };
    write!(out, "b{}", char::from(quote))?;
    for &b in bytes {
        match b {
            b'\\' => out.write_str("\\\\")?,
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            b if b == quote => write!(out, "\\{}", char::from(b))?,
            b' '..=b'~' => out.write_char(char::from(b))?,
            b => write!(out, "\\x{b:02x}")?,
        }
    }
    out.write_char(char::from(quote))
}

/// Whether Python prints the character as it is: no control, format, private-use or blank character but the space.
pub(crate) fn is_printable(c: char) -> bool {
    let format_or_private = matches!(u32::from(c),
        0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x202a..=0x202e
        | 0x2060..=0x206f | 0xe000..=0xf8ff | 0xfeff | 0xfff0..=0xfffb | 0xe_0000..=0x10_ffff);
    c == ' ' || !(c.is_control() || c.is_whitespace() || format_or_private)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spelled_as_python_does() {
        let cases = [
            (Value::Float(1e16), "1e+16"),
            (Value::Float(123456789012345.0), "123456789012345.0"),
            (Value::Float(0.0001), "0.0001"),
            (Value::Float(0.00001), "1e-05"),
            (Value::Float(-0.0), "-0.0"),
            (Value::Float(f64::INFINITY), "1e309"),
            (Value::Complex(0.0, 3.0), "3j"),
            (Value::Complex(-0.0, -3.0), "(-0-3j)"),
            (Value::Complex(1.5, 2.0), "(1.5+2j)"),
            (Value::str("it's"), "\"it's\""),
            (Value::str("a'b\"\n\u{200b}é"), "'a\\'b\"\\n\\u200bé'"),
            (Value::Bytes(vec![0, b'a', 0xff]), "b'\\x00a\\xff'"),
            (Value::Tuple(vec![Value::None]), "(None,)"),
        ];
        for (value, text) in cases {
            assert_eq!(value.to_string(), text);
        }
        assert_eq!(repr(&Value::Float(f64::NEG_INFINITY)), "-inf");
    }

    #[test]
    fn calls_are_rendered_in_order() {
        let call = Call {
            name: "a.f".to_owned(),
            args: vec![
                ("x".to_owned(), Value::Int(1.into())),
                ("y".to_owned(), Value::List(vec![Value::str("q"), Value::Bool(true)])),
            ],
        };
        let empty = Call { name: "g".to_owned(), args: vec![] };
        assert_eq!(render_calls(&[call, empty]), "[a.f(x=1, y=['q', True]), g()]");
        assert_eq!(render_calls(&[]), "[]");
    }
}
