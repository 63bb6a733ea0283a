//! Tokens to the syntax tree: recursive descent, with precedence climbing for operators.

use super::super::value::Value;
use super::SyntaxError;
use super::ast::{BinaryOp, Clause, Comprehension, Expr, FormatPart, Precedence, Suffix, UnaryOp};
use super::format_string;
use super::lexer::{Token, tokenize};
use super::string::StringToken;

/// Deepest nesting of operands. Every bracket takes one level, so do signs and right sides of tighter operators.
const MAX_DEPTH: usize = 600;

type Parsed<T = Expr> = Result<T, SyntaxError>;

/// Parses one expression, or several joined by commas as a tuple.
pub(in super::super) fn parse(text: &str) -> Parsed {
    if text.contains('\0') {
        return Err(SyntaxError);
    }
    let text: Vec<char> = text.replace("\r\n", "\n").replace('\r', "\n").chars().collect();
    let mut parser = Parser::new(&text, 0)?;
    let first = parser.expression()?;
    let whole = if parser.peek_is(",") {
        let mut items = vec![first];
        while parser.take(",") && !parser.at_end() {
            items.push(parser.expression()?);
        }
        Expr::Tuple(items)
    } else {
        first
    };
    if parser.at_end() { Ok(whole) } else { Err(SyntaxError) }
}

/// Parses the inside of a replacement field of an f-string, as if in parentheses.
pub(super) fn parse_field(text: &[char], depth: usize) -> Parsed {
    if text.iter().all(|c| matches!(c, ' ' | '\t' | '\n' | '\x0c')) {
        return Err(SyntaxError);
    }
    let mut wrapped = vec!['('];
    wrapped.extend_from_slice(text);
    wrapped.push(')');
    let mut parser = Parser::new(&wrapped, depth)?;
    let field = parser.atom()?;
    if parser.at_end() { Ok(field) } else { Err(SyntaxError) }
}

pub(super) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn new(text: &[char], depth: usize) -> Parsed<Self> {
        Ok(Self { tokens: tokenize(text)?, at: 0, depth })
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn peek_is(&self, text: &str) -> bool {
        self.peek_ahead(0, text)
    }

    pub(super) fn peek_ahead(&self, ahead: usize, text: &str) -> bool {
        matches!(self.tokens.get(self.at + ahead), Some(Token::Fixed(t)) if *t == text)
    }

    fn peek_fixed(&self) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Fixed(text)) => Some(text),
            _ => None,
        }
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.peek_is(text);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.take(text) { Ok(()) } else { Err(SyntaxError) }
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.advance();
                Ok(name)
            }
            _ => Err(SyntaxError),
        }
    }

    /// Whether only line ends are left.
    fn at_end(&self) -> bool {
        self.tokens.get(self.at..).unwrap_or_default().iter().all(|t| *t == Token::Newline)
    }

    /// Runs one level of nesting.
    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth >= MAX_DEPTH {
            return Err(SyntaxError);
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    pub(super) fn expression(&mut self) -> Parsed {
        if self.take("lambda") {
            return self.nested(Self::lambda);
        }
        let body = self.operators(Precedence::Or)?;
        if !self.take("if") {
            return Ok(body);
        }
        let test = self.operators(Precedence::Or)?;
        self.expect("else")?;
        let other = self.nested(Self::expression)?;
        Ok(Expr::Conditional { body: Box::new(body), test: Box::new(test), other: Box::new(other) })
    }

    /// An expression, or `name := value`.
    pub(super) fn named_expression(&mut self) -> Parsed {
        if matches!(self.peek(), Some(Token::Name(_))) && self.peek_ahead(1, ":=") {
            let name = self.name()?;
            self.advance();
            return Ok(Expr::Named(name, Box::new(self.expression()?)));
        }
        self.expression()
    }

    /// `*x`, after whose operand nothing looser than `|` may stand.
    pub(super) fn starred(&mut self) -> Parsed {
        self.expect("*")?;
        Ok(Expr::Starred(Box::new(self.operators(Precedence::BitOr)?)))
    }

    fn item(&mut self) -> Parsed {
        if self.peek_is("*") { self.starred() } else { self.named_expression() }
    }

    /// Operators that bind at least as tightly as `min`, with their operands.
    pub(super) fn operators(&mut self, min: Precedence) -> Parsed {
        self.nested(|p| p.operators_here(min))
    }

    fn operators_here(&mut self, min: Precedence) -> Parsed {
        let mut left = self.prefixed(min)?;
        loop {
            left = match self.peek_fixed() {
                Some(word @ ("or" | "and")) => {
                    let precedence = if word == "or" { Precedence::Or } else { Precedence::And };
                    if precedence < min {
                        return Ok(left);
                    }
                    let mut operands = vec![left];
                    while self.take(word) {
                        operands.push(self.operators(precedence.next())?);
                    }
                    Expr::Logical(word, operands)
                }
                Some(text) => match BinaryOp::parse(text) {
                    Some(op) if op.precedence() < min => return Ok(left),
                    Some(op) => self.binary(left, op.precedence())?,
                    None if Precedence::Compare < min || self.comparison().is_none() => return Ok(left),
                    None => self.comparisons(left)?,
                },
                None => return Ok(left),
            };
        }
    }

    /// The operators of one precedence after `left`.
    fn binary(&mut self, left: Expr, precedence: Precedence) -> Parsed {
        let mut rest = Vec::new();
        while let Some(op) = self.peek_fixed().and_then(BinaryOp::parse) {
            if op.precedence() != precedence {
                break;
            }
            self.advance();
            if op == BinaryOp::Power {
                // Powers associate to the right, and their right side may have a sign.
                rest.push((op, self.operators(Precedence::Factor)?));
                break;
            }
            rest.push((op, self.operators(precedence.next())?));
        }
        Ok(Expr::Binary(Box::new(left), rest))
    }

    /// The comparison operator that comes next, and of how many tokens it is.
    fn comparison(&self) -> Option<(&'static str, usize)> {
        Some(match self.peek_fixed()? {
            op @ ("<" | ">" | "==" | ">=" | "<=" | "!=" | "in") => (op, 1),
            "not" if self.peek_ahead(1, "in") => ("not in", 2),
            "is" if self.peek_ahead(1, "not") => ("is not", 2),
            "is" => ("is", 1),
            _ => return None,
        })
    }

    fn comparisons(&mut self, left: Expr) -> Parsed {
        let mut rest = Vec::new();
        while let Some((op, tokens)) = self.comparison() {
            self.at += tokens;
            rest.push((op, self.operators(Precedence::BitOr)?));
        }
        Ok(Expr::Compare(Box::new(left), rest))
    }

    /// An operand with its unary operators; looser ones than `min` may not stand here.
    fn prefixed(&mut self, min: Precedence) -> Parsed {
        let (op, operand) = match self.peek_fixed() {
            Some("not") if min <= Precedence::Not => (UnaryOp::Not, Precedence::Not),
            Some("+") => (UnaryOp::Plus, Precedence::Factor),
            Some("-") => (UnaryOp::Minus, Precedence::Factor),
            Some("~") => (UnaryOp::Invert, Precedence::Factor),
            Some("await") => {
                self.advance();
                return Ok(Expr::Await(Box::new(self.primary()?)));
            }
            _ => return self.primary(),
        };
        self.advance();
        Ok(Expr::Unary(op, Box::new(self.operators(operand)?)))
    }

    /// An atom and its suffixes.
    fn primary(&mut self) -> Parsed {
        let (base, mut suffixes) = match self.atom()? {
            Expr::Suffixed(base, suffixes) => (base, suffixes),
            atom => (Box::new(atom), Vec::new()),
        };
        loop {
            if self.take(".") {
                suffixes.push(Suffix::Attribute(self.name()?));
            } else if self.take("(") {
                suffixes.push(Suffix::Call(self.arguments()?));
            } else if self.take("[") {
                suffixes.push(Suffix::Subscript(self.subscript()?));
            } else if suffixes.is_empty() {
                return Ok(*base);
            } else {
                return Ok(Expr::Suffixed(base, suffixes));
            }
        }
    }

    fn atom(&mut self) -> Parsed {
        let token = self.peek().ok_or(SyntaxError)?.clone();
        if let Token::String(_) = token {
            return self.strings();
        }
        self.advance();
        match token {
            Token::Name(name) => Ok(Expr::Name(name)),
            Token::Number(value) => Ok(Expr::Constant(value)),
            Token::Fixed("None") => Ok(Expr::Constant(Value::None)),
            Token::Fixed("True") => Ok(Expr::Constant(Value::Bool(true))),
            Token::Fixed("False") => Ok(Expr::Constant(Value::Bool(false))),
            Token::Fixed("...") => Ok(Expr::Constant(Value::Ellipsis)),
            Token::Fixed("(") => self.parenthesised(),
            Token::Fixed("[") => self.list(),
            Token::Fixed("{") => self.braces(),
            Token::Fixed(_) | Token::String(_) | Token::Newline => Err(SyntaxError),
        }
    }

    /// String literals side by side are one.
    fn strings(&mut self) -> Parsed {
        let (mut text, mut bytes, mut parts) = (None, None, None);
        while let Some(Token::String(token)) = self.peek().cloned() {
            self.advance();
            match token {
                StringToken::Text(t) => text.get_or_insert_with(String::new).push_str(&t),
                StringToken::Bytes(b) => bytes.get_or_insert_with(Vec::new).extend(b),
                StringToken::Format(body, raw) => {
                    let parts: &mut Vec<_> = parts.get_or_insert_with(Vec::new);
                    parts.extend(text.take().map(FormatPart::Text));
                    parts.extend(format_string::parse(&body, raw, self.depth)?);
                }
            }
        }
        match (text, bytes, parts) {
            (Some(text), None, None) => Ok(Expr::Constant(Value::Str(text))),
            (None, Some(bytes), None) => Ok(Expr::Constant(Value::Bytes(bytes))),
            (text, None, Some(mut parts)) => {
                parts.extend(text.map(FormatPart::Text));
                Ok(Expr::Format(parts))
            }
            _ => Err(SyntaxError),
        }
    }

    /// What follows `(`: a tuple, a generator, a `yield`, or any expression, to which parentheses add nothing.
    fn parenthesised(&mut self) -> Parsed {
        if self.take(")") {
            return Ok(Expr::Tuple(Vec::new()));
        }
        if self.take("yield") {
            let value = self.yielded()?;
            self.expect(")")?;
            return Ok(value);
        }
        let first = self.item()?;
        if self.peek_is(",") {
            return Ok(Expr::Tuple(self.items(first, ")")?));
        }
        if self.take(")") {
            return if matches!(first, Expr::Starred(_)) { Err(SyntaxError) } else { Ok(first) };
        }
        self.comprehension(["(", ")"], first, None)
    }

    fn yielded(&mut self) -> Parsed {
        if self.take("from") {
            return Ok(Expr::YieldFrom(Box::new(self.expression()?)));
        }
        if self.peek_is(")") {
            return Ok(Expr::Yield(None));
        }
        let mut items = Vec::new();
        loop {
            items.push(if self.peek_is("*") { self.starred()? } else { self.expression()? });
            let comma = self.take(",");
            if comma && !self.peek_is(")") {
                continue;
            }
            let single = items.len() == 1 && !comma;
            return match items.pop() {
                Some(Expr::Starred(_)) if single => Err(SyntaxError),
                Some(value) if single => Ok(Expr::Yield(Some(Box::new(value)))),
                last => {
                    items.extend(last);
                    Ok(Expr::Yield(Some(Box::new(Expr::Tuple(items)))))
                }
            };
        }
    }

    fn list(&mut self) -> Parsed {
        if self.take("]") {
            return Ok(Expr::List(Vec::new()));
        }
        let first = self.item()?;
        if self.peek_is(",") || self.peek_is("]") {
            return Ok(Expr::List(self.items(first, "]")?));
        }
        self.comprehension(["[", "]"], first, None)
    }

    /// The items after `first`, up to and with the closing bracket; a comma may end them.
    fn items(&mut self, first: Expr, close: &str) -> Parsed<Vec<Expr>> {
        let mut items = vec![first];
        while self.take(",") && !self.peek_is(close) {
            items.push(self.item()?);
        }
        self.expect(close)?;
        Ok(items)
    }

    /// What follows `{`: a dict, a set, or a comprehension of either.
    fn braces(&mut self) -> Parsed {
        let mut pairs = Vec::new();
        loop {
            if self.take("}") {
                return Ok(Expr::Dict(pairs));
            }
            if self.take("**") {
                pairs.push((None, self.operators(Precedence::BitOr)?));
            } else {
                let key = if pairs.is_empty() { self.item()? } else { self.expression()? };
                let is_key = !matches!(key, Expr::Starred(_) | Expr::Named(..)) && self.take(":");
                if !is_key && pairs.is_empty() {
                    return match self.peek_fixed() {
                        Some("," | "}") => Ok(Expr::Set(self.items(key, "}")?)),
                        _ => self.comprehension(["{", "}"], key, None),
                    };
                }
                let value = if is_key { self.expression()? } else { return Err(SyntaxError) };
                if pairs.is_empty() && !self.peek_is(",") && !self.peek_is("}") {
                    return self.comprehension(["{", "}"], key, Some(value));
                }
                pairs.push((Some(key), value));
            }
            if !self.peek_is("}") {
                self.expect(",")?;
            }
        }
    }

    /// The clauses after an element, up to and with the closing bracket.
    pub(super) fn comprehension(
        &mut self,
        brackets: [&'static str; 2],
        element: Expr,
        value: Option<Expr>,
    ) -> Parsed {
        if matches!(element, Expr::Starred(_)) {
            return Err(SyntaxError);
        }
        let mut clauses = Vec::new();
        while clauses.is_empty() || !self.peek_is(brackets[1]) {
            let is_async = self.take("async");
            self.expect("for")?;
            let target = self.targets()?;
            self.expect("in")?;
            let iterable = self.operators(Precedence::Or)?;
            let mut conditions = Vec::new();
            while self.take("if") {
                conditions.push(self.operators(Precedence::Or)?);
            }
            clauses.push(Clause { is_async, target, iterable, conditions });
        }
        self.expect(brackets[1])?;
        let (element, value) = (Box::new(element), value.map(Box::new));
        Ok(Expr::Comprehension(Comprehension { brackets, element, value, clauses }))
    }

    fn targets(&mut self) -> Parsed {
        let mut items = Vec::new();
        let mut comma = false;
        while items.is_empty() || (comma && !self.peek_is("in")) {
            let item = if self.peek_is("*") { self.starred()? } else { self.operators(Precedence::BitOr)? };
            if !is_target(&item) {
                return Err(SyntaxError);
            }
            items.push(item);
            comma = self.take(",");
            if !comma {
                break;
            }
        }
        match items.pop() {
            Some(only) if items.is_empty() && !comma => Ok(only),
            last => {
                items.extend(last);
                Ok(Expr::Tuple(items))
            }
        }
    }
}

/// Whether the expression can be assigned to.
fn is_target(target: &Expr) -> bool {
    match target {
        Expr::Name(_) => true,
        Expr::List(items) | Expr::Tuple(items) => items.iter().all(is_target),
        Expr::Starred(inner) => is_target(inner) && !matches!(**inner, Expr::Starred(_)),
        Expr::Suffixed(_, suffixes) => !matches!(suffixes.last(), Some(Suffix::Call(_)) | None),
        _ => false,
    }
}
