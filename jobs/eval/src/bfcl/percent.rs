//! `format % values`, for text and for bytes.

use num_bigint::{BigInt, Sign};
use num_traits::{FromPrimitive, ToPrimitive};

use super::evaluate::Budget;
use super::number::int_to_float;
use super::render::{int_repr, repr};
use super::value::Value;

/// `text % args`; `None` where Python raises or the budget is spent.
pub(super) fn text(format: &str, args: &Value, budget: &mut Budget) -> Option<Value> {
    let mut formatter = Formatter::new(args, false);
    formatter.run(format, budget).map(Value::Str)
}

/// `bytes % args`, worked on as text in which every character is one byte.
pub(super) fn bytes(format: &[u8], args: &Value, budget: &mut Budget) -> Option<Value> {
    let mut formatter = Formatter::new(args, true);
    let format: String = format.iter().copied().map(char::from).collect();
    let out = formatter.run(&format, budget)?;
    out.chars().map(|c| u8::try_from(c).ok()).collect::<Option<_>>().map(Value::Bytes)
}

/// One conversion: `%` flags width precision kind.
#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    blank: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

struct Formatter<'a> {
    args: &'a Value,
    used: usize,
    in_bytes: bool,
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

impl<'a> Formatter<'a> {
    fn new(args: &'a Value, in_bytes: bool) -> Self {
        Self { args, used: 0, in_bytes }
    }

    fn next_arg(&mut self) -> Option<&'a Value> {
        let arg = match self.args {
            Value::Tuple(items) => items.get(self.used),
            single => (self.used == 0).then_some(single),
        };
        self.used += 1;
        arg
    }

    fn run(&mut self, format: &str, budget: &mut Budget) -> Option<String> {
        let mut out = String::new();
        let mut chars = format.chars().peekable();
        let mut keyed = false;
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut chosen = None;
            if chars.peek() == Some(&'(') {
                chosen = Some(self.keyed(&mut chars)?);
                keyed = true;
            }
            let spec = self.spec(&mut chars)?;
            let kind = chars.next()?;
            if kind == '%' {
                out.push('%');
                continue;
            }
            let arg = match chosen {
                Some(arg) => arg,
                None => self.next_arg()?,
            };
            let cost = spec.width.checked_add(spec.precision.unwrap_or(0))?.checked_add(64)?;
            budget.spend(u64::try_from(cost).ok()?)?;
            let piece = self.convert(kind, &spec, arg)?;
            budget.spend(u64::try_from(piece.len()).ok()?)?;
            out.push_str(&piece);
        }
        let all_used = match self.args {
            Value::Tuple(items) => self.used >= items.len(),
            // What Python takes for a mapping may be left unused.
            Value::Dict(_) | Value::List(_) => true,
            Value::Bytes(_) => !self.in_bytes || self.used > 0,
            _ => self.used > 0,
        };
        (all_used || keyed).then_some(out)
    }

    /// `(key)` of a mapping.
    fn keyed(&self, chars: &mut Chars<'_>) -> Option<&'a Value> {
        let Value::Dict(pairs) = self.args else { return None };
        let mut depth = 0usize;
        let mut key = String::new();
        loop {
            let c = chars.next()?;
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            key.push(c);
        }
        key.remove(0);
        let key = match self.in_bytes {
            true => Value::Bytes(key.chars().map(|c| u8::try_from(c).ok()).collect::<Option<_>>()?),
            false => Value::Str(key),
        };
        pairs.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    fn spec(&mut self, chars: &mut Chars<'_>) -> Option<Spec> {
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => spec.left = true,
                '+' => spec.plus = true,
                ' ' => spec.blank = true,
                '#' => spec.alternate = true,
                '0' => spec.zero = true,
                _ => break,
            }
            chars.next();
        }
        if let Some(width) = self.size(chars)? {
            spec.left |= width.sign() == Sign::Minus;
            spec.width = width.magnitude().to_usize()?;
        }
        if chars.peek() == Some(&'.') {
            chars.next();
            let precision = self.size(chars)?.unwrap_or_default();
            spec.precision = Some(precision.to_usize().unwrap_or(0));
        }
        if matches!(chars.peek(), Some('h' | 'l' | 'L')) {
            chars.next();
        }
        Some(spec)
    }

    /// A width or precision: digits, or `*` for the next argument. The outer `None` is an error.
    fn size(&mut self, chars: &mut Chars<'_>) -> Option<Option<BigInt>> {
        if chars.peek() == Some(&'*') {
            chars.next();
            return integer(self.next_arg()?).map(Some);
        }
        let mut digits = String::new();
        while let Some(digit) = chars.peek().filter(|c| c.is_ascii_digit()) {
            digits.push(*digit);
            chars.next();
        }
        match digits.is_empty() {
            true => Some(None),
            // More digits than any size that fits.
            false => digits.parse::<u32>().ok().map(|size| Some(size.into())),
        }
    }

    fn convert(&self, kind: char, spec: &Spec, arg: &Value) -> Option<String> {
        match kind {
            's' | 'b' if self.in_bytes => match arg {
                Value::Bytes(bytes) => {
                    Some(cut_and_padded(bytes.iter().copied().map(char::from).collect(), spec))
                }
                _ => None,
            },
            's' => {
                let text = arg.as_str().map_or_else(|| printed(arg), |s| Some(s.to_owned()))?;
                Some(cut_and_padded(text, spec))
            }
            'r' if !self.in_bytes => Some(cut_and_padded(printed(arg)?, spec)),
            'r' | 'a' => Some(cut_and_padded(ascii(&printed(arg)?), spec)),
            'c' => Some(padded("", &self.character(arg)?, spec, false)),
            'd' | 'i' | 'u' => number_padded(&truncated(arg)?, 10, spec),
            'o' => number_padded(&integer(arg)?, 8, spec),
            'x' => number_padded(&integer(arg)?, 16, spec),
            'X' => number_padded(&integer(arg)?, 16, spec).map(|text| text.to_ascii_uppercase()),
            'e' | 'f' | 'g' => float_padded(float(arg)?, kind, spec),
            'E' | 'F' | 'G' => float_padded(float(arg)?, kind.to_ascii_lowercase(), spec)
                .map(|text| text.to_ascii_uppercase()),
            _ => None,
        }
    }

    fn character(&self, arg: &Value) -> Option<String> {
        match arg {
            Value::Str(text) if !self.in_bytes && text.chars().count() == 1 => Some(text.clone()),
            Value::Bytes(bytes) if self.in_bytes && bytes.len() == 1 => {
                Some(bytes.iter().copied().map(char::from).collect())
            }
            number => {
                let code = integer(number)?.to_u32()?;
                let c =
                    if self.in_bytes { char::from(u8::try_from(code).ok()?) } else { char::from_u32(code)? };
                Some(c.to_string())
            }
        }
    }
}

/// `repr`, or `None` where an integer inside is too long to print.
fn printed(value: &Value) -> Option<String> {
    fn printable(value: &Value) -> bool {
        match value {
            Value::Int(i) => int_repr(i).is_some(),
            Value::List(items) | Value::Tuple(items) => items.iter().all(printable),
            Value::Dict(pairs) => pairs.iter().all(|(k, v)| printable(k) && printable(v)),
            _ => true,
        }
    }
    printable(value).then(|| repr(value))
}

fn ascii(text: &str) -> String {
    let escaped = |c: char| match u32::from(c) {
        ..0x80 => c.to_string(),
        code @ ..0x100 => format!("\\x{code:02x}"),
        code @ ..0x1_0000 => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    };
    text.chars().map(escaped).collect()
}

fn integer(value: &Value) -> Option<BigInt> {
    match value {
        Value::Bool(b) => Some(u8::from(*b).into()),
        Value::Int(i) => Some(i.clone()),
        _ => None,
    }
}

fn truncated(value: &Value) -> Option<BigInt> {
    match value {
        Value::Float(f) => BigInt::from_f64(f.trunc()),
        other => integer(other),
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(f) => Some(*f),
        other => int_to_float(&integer(other)?),
    }
}

fn cut_and_padded(text: String, spec: &Spec) -> String {
    let text = match spec.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text,
    };
    padded("", &text, spec, false)
}

/// Fills up to the width: behind, in front, or with zeros between sign and digits.
fn padded(sign: &str, text: &str, spec: &Spec, numeric: bool) -> String {
    let fill = spec.width.saturating_sub(sign.chars().count() + text.chars().count());
    if spec.left {
        format!("{sign}{text}{}", " ".repeat(fill))
    } else if numeric && spec.zero {
        format!("{sign}{}{text}", "0".repeat(fill))
    } else {
        format!("{}{sign}{text}", " ".repeat(fill))
    }
}

fn sign(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.plus, spec.blank) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

fn number_padded(number: &BigInt, radix: u32, spec: &Spec) -> Option<String> {
    if radix == 10 {
        int_repr(number)?;
    }
    let digits = number.magnitude().to_str_radix(radix);
    let zeros = spec.precision.unwrap_or(0).saturating_sub(digits.len());
    let prefix = match (spec.alternate, radix) {
        (true, 8) => "0o",
        (true, 16) => "0x",
        _ => "",
    };
    let sign = format!("{}{prefix}", sign(number.sign() == Sign::Minus, spec));
    Some(padded(&sign, &format!("{}{digits}", "0".repeat(zeros)), spec, true))
}

fn float_padded(x: f64, kind: char, spec: &Spec) -> Option<String> {
    let precision = spec.precision.unwrap_or(6);
    let size = x.abs();
    let text = if x.is_nan() {
        "nan".to_owned()
    } else if x.is_infinite() {
        "inf".to_owned()
    } else {
        match kind {
            'e' => scientific(size, precision)?,
            'f' => format!("{size:.precision$}"),
            _ => general(size, precision.max(1), spec.alternate)?,
        }
    };
    let point = spec.alternate && kind != 'g' && precision == 0 && x.is_finite();
    let text = if point { text + "." } else { text };
    Some(padded(sign(x.is_sign_negative() && !x.is_nan(), spec), &text, spec, true))
}

fn scientific(size: f64, precision: usize) -> Option<String> {
    let text = format!("{size:.precision$e}");
    let (mantissa, exponent) = text.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    Some(format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()))
}

fn general(size: f64, digits: usize, keep_zeros: bool) -> Option<String> {
    let rounded = scientific(size, digits - 1)?;
    let (mantissa, exponent) = rounded.split_once('e')?;
    let exponent: i64 = exponent.parse().ok()?;
    let trimmed = |text: &str| match text.contains('.') && !keep_zeros {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let digits = i64::try_from(digits).ok()?;
    if exponent < -4 || exponent >= digits {
        let (_, tail) = rounded.split_at(mantissa.len());
        return Some(format!("{}{tail}", trimmed(mantissa)));
    }
    let decimals = usize::try_from(digits - 1 - exponent).ok()?;
    Some(trimmed(&format!("{size:.decimals$}")))
}
