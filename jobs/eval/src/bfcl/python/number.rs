//! Number literals.

use num_bigint::BigInt;

use super::super::render::MAX_INT_DIGITS;
use super::super::value::Value;
use super::SyntaxError;
use super::lexer::is_name_char;

/// Words that may follow a number without a blank between.
const FOLLOWERS: [&str; 8] = ["and", "else", "for", "if", "in", "is", "or", "not"];

/// Reads the number that `text` starts with; also gives its length in characters.
pub(super) fn number(text: &[char]) -> Result<(Value, usize), SyntaxError> {
    let radix = match (text.first(), text.get(1).map(char::to_ascii_lowercase)) {
        (Some('0'), Some('x')) => 16,
        (Some('0'), Some('o')) => 8,
        (Some('0'), Some('b')) => 2,
        _ => return decimal(text),
    };
    let mut reader = Reader { text, at: 2, kept: String::new() };
    reader.skip('_');
    reader.digits(radix)?;
    let value = BigInt::parse_bytes(reader.kept.as_bytes(), radix).ok_or(SyntaxError)?;
    reader.end()?;
    Ok((Value::Int(value), reader.at))
}

fn decimal(text: &[char]) -> Result<(Value, usize), SyntaxError> {
    let mut reader = Reader { text, at: 0, kept: String::new() };
    if reader.peek(0) != Some('.') {
        reader.digits(10)?;
    }
    let mut is_float = false;
    if reader.take(&['.']) {
        is_float = true;
        if reader.peek(0).is_some_and(|c| c.is_ascii_digit()) {
            reader.digits(10)?;
        }
    }
    let signed = usize::from(matches!(reader.peek(1), Some('+' | '-')));
    if matches!(reader.peek(0), Some('e' | 'E'))
        && reader.peek(1 + signed).is_some_and(|c| c.is_ascii_digit())
    {
        is_float = true;
        reader.take(&['e', 'E']);
        reader.take(&['+', '-']);
        reader.digits(10)?;
    }
    let digits = reader.kept.clone();
    let value = if reader.take(&['j', 'J']) {
        Value::Complex(0.0, digits.parse().map_err(|_| SyntaxError)?)
    } else if is_float {
        Value::Float(digits.parse().map_err(|_| SyntaxError)?)
    } else {
        Value::Int(decimal_int(&digits)?)
    };
    reader.end()?;
    Ok((value, reader.at))
}

fn decimal_int(digits: &str) -> Result<BigInt, SyntaxError> {
    let leading_zero = digits.starts_with('0') && digits.bytes().any(|b| b != b'0');
    if leading_zero || digits.len() > MAX_INT_DIGITS {
        return Err(SyntaxError);
    }
    BigInt::parse_bytes(digits.as_bytes(), 10).ok_or(SyntaxError)
}

struct Reader<'a> {
    text: &'a [char],
    at: usize,
    /// what was read, without underscores
    kept: String,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn skip(&mut self, c: char) {
        self.at += usize::from(self.peek(0) == Some(c));
    }

    fn take(&mut self, any: &[char]) -> bool {
        match self.peek(0).filter(|c| any.contains(c)) {
            Some(c) => {
                self.kept.push(c);
                self.at += 1;
                true
            }
            None => false,
        }
    }

    /// One digit or more, with single underscores between.
    fn digits(&mut self, radix: u32) -> Result<(), SyntaxError> {
        loop {
            let c = self.peek(0).filter(|c| c.is_digit(radix)).ok_or(SyntaxError)?;
            self.kept.push(c);
            self.at += 1;
            match self.peek(0) {
                Some('_') => self.at += 1,
                Some(c) if c.is_digit(radix) => {}
                _ => return Ok(()),
            }
        }
    }

    /// Whether a number may end here.
    fn end(&self) -> Result<(), SyntaxError> {
        let follower = |word: &str| word.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c));
        if self.peek(0).is_some_and(is_name_char) && !FOLLOWERS.iter().any(|w| follower(w)) {
            return Err(SyntaxError);
        }
        Ok(())
    }
}
