//! Text to tokens.

use unicode_ident::{is_xid_continue, is_xid_start};
use unicode_normalization::UnicodeNormalization;

use super::super::value::Value;
use super::SyntaxError;
use super::number::number;
use super::string::{StringToken, string};

/// Deepest nesting of brackets.
const MAX_BRACKETS: usize = 200;

const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
    "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// All operators and delimiters, longer before shorter.
const OPERATORS: [&str; 47] = [
    "**=", "//=", ">>=", "<<=", "...", "!=", "->", "**", "//", ">>", "<<", "<=", ">=", "==", "+=", "-=",
    "*=", "/=", "%=", "&=", "|=", "^=", "@=", ":=", "(", ")", "[", "]", "{", "}", ",", ":", ".", ";", "@",
    "=", "+", "-", "*", "/", "%", "&", "|", "^", "~", "<", ">",
];

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// an operator, delimiter or reserved word
    Fixed(&'static str),
    /// a name, normalised to NFKC
    Name(String),
    /// a number
    Number(Value),
    /// a string of any prefix
    String(StringToken),
    /// the end of a line outside brackets
    Newline,
}

/// Splits `text` into tokens; lines end with `\n` only.
pub(super) fn tokenize(text: &[char]) -> Result<Vec<Token>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(&c) = text.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        match c {
            ' ' | '\t' | '\x0c' => at += 1,
            '\n' => {
                if open.is_empty() {
                    tokens.push(Token::Newline);
                }
                at += 1;
            }
            '#' => at += rest.iter().take_while(|c| **c != '\n').count(),
            '\\' if rest.get(1) == Some(&'\n') && rest.len() > 2 => at += 2,
            '0'..='9' | '.' if c != '.' || rest.get(1).is_some_and(char::is_ascii_digit) => {
                let (value, length) = number(rest)?;
                tokens.push(Token::Number(value));
                at += length;
            }
            _ => {
                let (token, length) = match string(rest)? {
                    Some((token, length)) => (Token::String(token), length),
                    None if is_name_char(c) => name(rest)?,
                    None => operator(rest)?,
                };
                if let Token::Fixed(text) = token {
                    track(&mut open, text)?;
                }
                tokens.push(token);
                at += length;
            }
        }
    }
    if open.is_empty() { Ok(tokens) } else { Err(SyntaxError) }
}

/// Follows brackets: `open` holds the closing ones that are due.
fn track(open: &mut Vec<&'static str>, text: &'static str) -> Result<(), SyntaxError> {
    match text {
        "(" => open.push(")"),
        "[" => open.push("]"),
        "{" => open.push("}"),
        ")" | "]" | "}" if open.pop() != Some(text) => return Err(SyntaxError),
        _ => {}
    }
    if open.len() > MAX_BRACKETS { Err(SyntaxError) } else { Ok(()) }
}

/// Whether Python reads on in a name at this character, valid there or not.
pub(super) fn is_name_char(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii()
}

fn name(text: &[char]) -> Result<(Token, usize), SyntaxError> {
    let name: String = text.iter().take_while(|c| is_name_char(**c)).collect();
    let length = name.chars().count();
    let mut chars = name.chars();
    let starts_well = chars.next().is_some_and(|c| c == '_' || is_xid_start(c));
    if !starts_well || !chars.all(is_xid_continue) {
        return Err(SyntaxError);
    }
    // Reserved words are recognised as written: a word that only becomes one by normalisation is a name.
    let token = match KEYWORDS.iter().find(|k| **k == name) {
        Some(keyword) => Token::Fixed(keyword),
        None => Token::Name(name.nfkc().collect()),
    };
    Ok((token, length))
}

fn operator(text: &[char]) -> Result<(Token, usize), SyntaxError> {
    OPERATORS
        .iter()
        .find(|op| op.chars().enumerate().all(|(i, c)| text.get(i) == Some(&c)))
        .map(|op| (Token::Fixed(op), op.len()))
        .ok_or(SyntaxError)
}
