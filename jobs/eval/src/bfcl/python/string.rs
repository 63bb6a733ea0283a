//! String literals: finding their end, and resolving escapes.

use super::SyntaxError;

/// Names of control characters that the library does not find: those of several words.
const CONTROLS: [(&str, char); 9] = [
    ("CARRIAGE RETURN", '\r'),
    ("CHARACTER TABULATION", '\t'),
    ("END OF LINE", '\n'),
    ("FORM FEED", '\x0c'),
    ("HORIZONTAL TABULATION", '\t'),
    ("LINE FEED", '\n'),
    ("LINE TABULATION", '\x0b'),
    ("NEW LINE", '\n'),
    ("VERTICAL TABULATION", '\x0b'),
];

/// A string literal as the lexer hands it on.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum StringToken {
    /// text, escapes resolved
    Text(String),
    /// bytes, escapes resolved
    Bytes(Vec<u8>),
    /// the untouched inside of an f-string, and whether it is raw
    Format(Vec<char>, bool),
}

/// Reads the string literal that `text` starts with, if it does; also gives its length in characters.
pub(super) fn string(text: &[char]) -> Result<Option<(StringToken, usize)>, SyntaxError> {
    let Some(prefix_length) = text.iter().take(3).position(|c| matches!(c, '\'' | '"')) else {
        return Ok(None);
    };
    let prefix: String = text.iter().take(prefix_length).collect::<String>().to_ascii_lowercase();
    if !matches!(prefix.as_str(), "" | "r" | "u" | "b" | "f" | "br" | "rb" | "fr" | "rf") {
        return Ok(None);
    }
    let quoted = text.get(prefix_length..).unwrap_or_default();
    let (body, quotes) = body(quoted)?;
    let raw = prefix.contains('r');
    let token = if prefix.contains('f') {
        StringToken::Format(body.to_vec(), raw)
    } else if prefix.contains('b') {
        StringToken::Bytes(bytes(body, raw)?)
    } else if raw {
        StringToken::Text(body.iter().collect())
    } else {
        StringToken::Text(unescape(body)?)
    };
    Ok(Some((token, prefix_length + body.len() + 2 * quotes)))
}

/// The inside of a literal that starts with its quotes, and how many quotes stand at each end.
fn body(text: &[char]) -> Result<(&[char], usize), SyntaxError> {
    let quote = *text.first().ok_or(SyntaxError)?;
    let quotes = if text.get(1) == Some(&quote) && text.get(2) == Some(&quote) { 3 } else { 1 };
    let mut at = quotes;
    loop {
        match *text.get(at).ok_or(SyntaxError)? {
            '\\' => at += 2,
            '\n' if quotes == 1 => return Err(SyntaxError),
            c if c == quote && (1..quotes).all(|i| text.get(at + i) == Some(&quote)) => {
                return Ok((text.get(quotes..at).ok_or(SyntaxError)?, quotes));
            }
            _ => at += 1,
        }
    }
}

/// Resolves the escapes of text.
pub(super) fn unescape(body: &[char]) -> Result<String, SyntaxError> {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        if c != '\\' {
            out.push(c);
            continue;
        }
        let (&kind, after) = rest.split_first().ok_or(SyntaxError)?;
        rest = after;
        let code = match kind {
            'x' => hex(&mut rest, 2)?,
            'u' => hex(&mut rest, 4)?,
            'U' => hex(&mut rest, 8)?,
            'N' => {
                out.push(named(&mut rest)?);
                continue;
            }
            _ => match simple(kind, &mut rest) {
                Some(Escape::Code(code)) => code,
                Some(Escape::Nothing) => continue,
                None => {
                    out.extend(['\\', kind]);
                    continue;
                }
            },
        };
        out.push(character(code)?);
    }
    Ok(out)
}

fn bytes(body: &[char], raw: bool) -> Result<Vec<u8>, SyntaxError> {
    if !body.iter().all(char::is_ascii) {
        return Err(SyntaxError);
    }
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        if c != '\\' || raw {
            out.push(low_byte(u32::from(c)));
            continue;
        }
        let (&kind, after) = rest.split_first().ok_or(SyntaxError)?;
        rest = after;
        match kind {
            'x' => out.push(low_byte(hex(&mut rest, 2)?)),
            _ => match simple(kind, &mut rest) {
                Some(Escape::Code(code)) => out.push(low_byte(code)),
                Some(Escape::Nothing) => {}
                None => out.extend([b'\\', low_byte(u32::from(kind))]),
            },
        }
    }
    Ok(out)
}

fn low_byte(code: u32) -> u8 {
    code.to_le_bytes()[0]
}

enum Escape {
    Code(u32),
    Nothing,
}

/// The escapes that text and bytes share; `None` for an unknown one, which keeps its backslash.
fn simple(kind: char, rest: &mut &[char]) -> Option<Escape> {
    Some(Escape::Code(match kind {
        '\n' => return Some(Escape::Nothing),
        '\\' | '\'' | '"' => u32::from(kind),
        'a' => 7,
        'b' => 8,
        't' => 9,
        'n' => 10,
        'v' => 11,
        'f' => 12,
        'r' => 13,
        '0'..='7' => {
            let mut code = kind.to_digit(8)?;
            for _ in 0..2 {
                let Some((digit, after)) = rest.split_first().and_then(|(c, a)| Some((c.to_digit(8)?, a)))
                else {
                    break;
                };
                code = code * 8 + digit;
                *rest = after;
            }
            code
        }
        _ => return None,
    }))
}

fn hex(rest: &mut &[char], digits: usize) -> Result<u32, SyntaxError> {
    let (head, after) = rest.split_at_checked(digits).ok_or(SyntaxError)?;
    *rest = after;
    head.iter().try_fold(0u32, |code, c| Some(code.checked_mul(16)? + c.to_digit(16)?)).ok_or(SyntaxError)
}

/// The character of a code point; a surrogate becomes its stand-in, see [`Value`](super::super::Value).
fn character(code: u32) -> Result<char, SyntaxError> {
    let code = if (0xd800..0xe000).contains(&code) { code + 0x10_0000 } else { code };
    char::from_u32(code).ok_or(SyntaxError)
}

/// The character of `{NAME}`, spelled strictly but in any case.
fn named(rest: &mut &[char]) -> Result<char, SyntaxError> {
    let Some(('{', after)) = rest.split_first().map(|(c, a)| (*c, a)) else { return Err(SyntaxError) };
    let end = after.iter().position(|c| *c == '}').ok_or(SyntaxError)?;
    let (name, after) = after.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    let name: String = name.iter().collect::<String>().to_ascii_uppercase();
    if let Some((_, control)) = CONTROLS.iter().find(|(control, _)| *control == name) {
        return Ok(*control);
    }
    let found = unicode_names2::character(&name).ok_or(SyntaxError)?;
    // The library forgives missing blanks and hyphens, Python does not; aliases pass.
    let squeezed = |name: &str| name.replace([' ', '-', '_'], "");
    match unicode_names2::name(found).map(|n| n.to_string()) {
        Some(strict) if strict != name && squeezed(&strict) == squeezed(&name) => Err(SyntaxError),
        _ if name.trim() != name || name.contains("  ") || name.contains('_') => Err(SyntaxError),
        _ => Ok(found),
    }
}
