//! The inside of f-strings, with the rules before Python 3.12: no backslash or comment within a field.

use super::SyntaxError;
use super::ast::FormatPart;
use super::parser::parse_field;
use super::string::unescape;

/// Fields may hold fields in their format, but no deeper.
const MAX_FIELDS: usize = 2;

/// Splits the inside of an f-string into text and fields; `depth` is the nesting around it.
pub(super) fn parse(body: &[char], raw: bool, depth: usize) -> Result<Vec<FormatPart>, SyntaxError> {
    let mut reader = Reader { body, at: 0, raw, depth };
    let parts = reader.parts(0)?;
    if reader.at == body.len() { Ok(parts) } else { Err(SyntaxError) }
}

struct Reader<'a> {
    body: &'a [char],
    at: usize,
    raw: bool,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.body.get(self.at + ahead).copied()
    }

    /// Text and fields, to the end or, inside a field's format, to the brace that closes the field.
    fn parts(&mut self, level: usize) -> Result<Vec<FormatPart>, SyntaxError> {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        while let Some(c) = self.peek(0) {
            match c {
                '{' | '}' if level == 0 && self.peek(1) == Some(c) => {
                    text.push(c);
                    self.at += 2;
                }
                '}' if level == 0 => return Err(SyntaxError),
                '}' => break,
                '{' => {
                    self.flush(&mut text, &mut parts)?;
                    self.at += 1;
                    self.field(level, &mut parts)?;
                }
                '\\' if !self.raw => self.escape(&mut text),
                c => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
        self.flush(&mut text, &mut parts)?;
        Ok(parts)
    }

    fn flush(&self, text: &mut Vec<char>, parts: &mut Vec<FormatPart>) -> Result<(), SyntaxError> {
        if !text.is_empty() {
            let resolved = if self.raw { text.iter().collect() } else { unescape(text)? };
            parts.push(FormatPart::Text(resolved));
            text.clear();
        }
        Ok(())
    }

    /// Copies one escape; the braces of `\N{name}` are part of it, any other brace is not.
    fn escape(&mut self, text: &mut Vec<char>) {
        let length = match (self.peek(1), self.peek(2)) {
            (Some('N'), Some('{')) => {
                let rest = self.body.get(self.at..).unwrap_or_default();
                rest.iter().position(|c| *c == '}').map_or(rest.len(), |end| end + 1)
            }
            (Some('{' | '}') | None, _) => {
                // A lone backslash stays one when the text is resolved.
                text.push('\\');
                1
            }
            _ => 2,
        };
        text.extend(self.body.iter().skip(self.at).take(length));
        self.at += length;
    }

    /// What follows `{`, closing brace included. A field `{x=}` also gives its own source as text.
    fn field(&mut self, level: usize, parts: &mut Vec<FormatPart>) -> Result<(), SyntaxError> {
        if level >= MAX_FIELDS {
            return Err(SyntaxError);
        }
        let start = self.at;
        self.skip_expression()?;
        let source = self.body.get(start..self.at).ok_or(SyntaxError)?;
        let value = Box::new(parse_field(source, self.depth)?);
        let debug = self.peek(0) == Some('=');
        if debug {
            self.at += 1;
            while matches!(self.peek(0), Some(' ' | '\t' | '\n' | '\x0c')) {
                self.at += 1;
            }
            let shown = self.body.get(start..self.at).ok_or(SyntaxError)?;
            parts.push(FormatPart::Text(shown.iter().collect()));
        }
        let mut conversion = None;
        if self.peek(0) == Some('!') {
            conversion = self.peek(1).filter(|c| matches!(c, 's' | 'r' | 'a'));
            if conversion.is_none() {
                return Err(SyntaxError);
            }
            self.at += 2;
        }
        let mut spec = None;
        if self.peek(0) == Some(':') {
            self.at += 1;
            spec = Some(self.parts(level + 1)?);
        }
        if debug && conversion.is_none() && spec.is_none() {
            conversion = Some('r');
        }
        if self.peek(0) != Some('}') {
            return Err(SyntaxError);
        }
        self.at += 1;
        parts.push(FormatPart::Field { value, conversion, spec });
        Ok(())
    }

    /// Moves to the character that ends a field's expression.
    fn skip_expression(&mut self) -> Result<(), SyntaxError> {
        let mut open = Vec::new();
        while let Some(c) = self.peek(0) {
            match c {
                '\\' | '#' => return Err(SyntaxError),
                '\'' | '"' => {
                    self.skip_string(c)?;
                    continue;
                }
                '(' => open.push(')'),
                '[' => open.push(']'),
                '{' => open.push('}'),
                '!' | '=' | '<' | '>' if open.is_empty() && self.peek(1) == Some('=') => self.at += 1,
                '!' | ':' | '}' | '=' if open.is_empty() => return Ok(()),
                ')' | ']' | '}' if open.pop() != Some(c) => return Err(SyntaxError),
                _ => {}
            }
            self.at += 1;
        }
        Err(SyntaxError)
    }

    fn skip_string(&mut self, quote: char) -> Result<(), SyntaxError> {
        let quotes = if self.peek(1) == Some(quote) && self.peek(2) == Some(quote) { 3 } else { 1 };
        self.at += quotes;
        loop {
            match self.peek(0) {
                None | Some('\\') => return Err(SyntaxError),
                Some(_) if (0..quotes).all(|i| self.peek(i) == Some(quote)) => break,
                Some(_) => self.at += 1,
            }
        }
        self.at += quotes;
        Ok(())
    }
}
