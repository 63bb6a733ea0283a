//! The syntax tree back to normalised source text, as `ast.unparse` writes it.

use std::fmt::Write;

use super::super::render::{int_repr, is_printable};
use super::super::value::Value;
use super::SyntaxError;
use super::ast::{Argument, Comprehension, Expr, FormatPart, Param, Precedence, Suffix, UnaryOp};

/// Source text with single quotes, one blank after commas and blanks around binary operators.
///
/// # Errors
/// Python refuses to print an integer of more than 4300 digits.
pub(in super::super) fn unparse(expr: &Expr) -> Result<String, SyntaxError> {
    let mut writer = Writer { out: String::new() };
    writer.expr(expr, Precedence::Test)?;
    Ok(writer.out)
}

/// The source text of an expression without its last suffix.
pub(in super::super) fn unparse_before_last(base: &Expr, suffixes: &[Suffix]) -> Result<String, SyntaxError> {
    let mut writer = Writer { out: String::new() };
    match suffixes.split_last() {
        Some((_, [])) | None => writer.expr(base, Precedence::Test)?,
        Some((_, before)) => writer.suffixed(base, before)?,
    }
    Ok(writer.out)
}

struct Writer {
    out: String,
}

type Written = Result<(), SyntaxError>;

impl Writer {
    fn text(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Writes an expression, in parentheses if it is looser than `least`.
    fn expr(&mut self, expr: &Expr, least: Precedence) -> Written {
        let own = precedence(expr);
        let parenthesised = own.is_some_and(|own| least > own);
        self.text(if parenthesised { "(" } else { "" });
        self.bare(expr, own.unwrap_or(Precedence::Atom))?;
        self.text(if parenthesised { ")" } else { "" });
        Ok(())
    }

    fn bare(&mut self, expr: &Expr, own: Precedence) -> Written {
        match expr {
            Expr::Constant(value) => self.constant(value),
            Expr::Name(name) => {
                self.text(name);
                Ok(())
            }
            Expr::Format(parts) => self.format_string(parts),
            Expr::List(items) => self.bracketed("[", items, "]"),
            Expr::Set(items) => self.bracketed("{", items, "}"),
            Expr::Tuple(items) if items.is_empty() => {
                self.text("()");
                Ok(())
            }
            Expr::Tuple(items) => self.tuple_items(items),
            Expr::Dict(pairs) => self.dict(pairs),
            Expr::Starred(inner) => {
                self.text("*");
                self.expr(inner, Precedence::BitOr)
            }
            Expr::Unary(op, operand) => {
                self.text(op.text());
                self.text(if *op == UnaryOp::Not { " " } else { "" });
                self.expr(operand, own)
            }
            Expr::Binary(first, rest) => {
                let right_associative = own == Precedence::Power;
                self.expr(first, if right_associative { own.next() } else { own })?;
                for (op, operand) in rest {
                    let _ = write!(self.out, " {} ", op.text());
                    self.expr(operand, if right_associative { own } else { own.next() })?;
                }
                Ok(())
            }
            Expr::Compare(first, rest) => {
                self.expr(first, own.next())?;
                for (op, operand) in rest {
                    let _ = write!(self.out, " {op} ");
                    self.expr(operand, own.next())?;
                }
                Ok(())
            }
            Expr::Logical(op, operands) => self.logical(op, operands, own),
            Expr::Conditional { body, test, other } => {
                self.expr(body, own.next())?;
                self.text(" if ");
                self.expr(test, own.next())?;
                self.text(" else ");
                self.expr(other, own)
            }
            Expr::Lambda(params, body) => self.lambda(params, body),
            Expr::Named(name, value) => {
                self.text(name);
                self.text(" := ");
                self.expr(value, Precedence::Atom)
            }
            Expr::Await(value) => self.prefixed("await ", value),
            Expr::Yield(Some(value)) => self.prefixed("yield ", value),
            Expr::YieldFrom(value) => self.prefixed("yield from ", value),
            Expr::Yield(None) => {
                self.text("yield");
                Ok(())
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Suffixed(base, suffixes) => self.suffixed(base, suffixes),
            Expr::Slice(bounds) => self.slice(bounds),
        }
    }

    fn prefixed(&mut self, word: &str, value: &Expr) -> Written {
        self.text(word);
        self.expr(value, Precedence::Atom)
    }

    fn constant(&mut self, value: &Value) -> Written {
        match value {
            Value::Ellipsis => self.text("..."),
            Value::Int(i) => self.text(&int_repr(i).ok_or(SyntaxError)?),
            value => self.text(&value.to_string()),
        }
        Ok(())
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T) -> Written) -> Written {
        for (i, item) in items.iter().enumerate() {
            self.text(if i == 0 { "" } else { ", " });
            write(self, item)?;
        }
        Ok(())
    }

    fn bracketed(&mut self, open: &str, items: &[Expr], close: &str) -> Written {
        self.text(open);
        self.list(items, |w, item| w.expr(item, Precedence::Test))?;
        self.text(close);
        Ok(())
    }

    fn tuple_items(&mut self, items: &[Expr]) -> Written {
        self.list(items, |w, item| w.expr(item, Precedence::Test))?;
        self.text(if items.len() == 1 { "," } else { "" });
        Ok(())
    }

    fn dict(&mut self, pairs: &[(Option<Expr>, Expr)]) -> Written {
        self.text("{");
        self.list(pairs, |w, (key, value)| match key {
            Some(key) => {
                w.expr(key, Precedence::Test)?;
                w.text(": ");
                w.expr(value, Precedence::Test)
            }
            None => {
                w.text("**");
                w.expr(value, Precedence::BitOr)
            }
        })?;
        self.text("}");
        Ok(())
    }

    /// Every further operand is asked to be tighter than the one before, as Python's own writer does.
    fn logical(&mut self, op: &str, operands: &[Expr], own: Precedence) -> Written {
        let mut least = own;
        for (i, operand) in operands.iter().enumerate() {
            if i > 0 {
                let _ = write!(self.out, " {op} ");
            }
            least = least.next();
            self.expr(operand, least)?;
        }
        Ok(())
    }

    fn lambda(&mut self, params: &[Param], body: &Expr) -> Written {
        self.text(if params.is_empty() { "lambda" } else { "lambda " });
        self.list(params, |w, param| {
            w.text(param.mark);
            w.text(param.name.as_deref().unwrap_or_default());
            match &param.default {
                Some(default) => {
                    w.text("=");
                    w.expr(default, Precedence::Test)
                }
                None => Ok(()),
            }
        })?;
        self.text(": ");
        self.expr(body, Precedence::Test)
    }

    fn comprehension(&mut self, comprehension: &Comprehension) -> Written {
        self.text(comprehension.brackets[0]);
        self.expr(&comprehension.element, Precedence::Test)?;
        if let Some(value) = &comprehension.value {
            self.text(": ");
            self.expr(value, Precedence::Test)?;
        }
        for clause in &comprehension.clauses {
            self.text(if clause.is_async { " async for " } else { " for " });
            self.expr(&clause.target, Precedence::Tuple)?;
            self.text(" in ");
            self.expr(&clause.iterable, Precedence::Or)?;
            for condition in &clause.conditions {
                self.text(" if ");
                self.expr(condition, Precedence::Or)?;
            }
        }
        self.text(comprehension.brackets[1]);
        Ok(())
    }

    fn suffixed(&mut self, base: &Expr, suffixes: &[Suffix]) -> Written {
        self.expr(base, Precedence::Atom)?;
        // `5.real` would be read as a number.
        let integer = matches!(base, Expr::Constant(Value::Int(_) | Value::Bool(_)));
        if integer && matches!(suffixes.first(), Some(Suffix::Attribute(_))) {
            self.text(" ");
        }
        for suffix in suffixes {
            match suffix {
                Suffix::Attribute(name) => {
                    self.text(".");
                    self.text(name);
                }
                Suffix::Call(arguments) => {
                    self.text("(");
                    self.arguments(arguments)?;
                    self.text(")");
                }
                Suffix::Subscript(index) => {
                    self.text("[");
                    match index {
                        Expr::Tuple(items) if !items.is_empty() => self.tuple_items(items)?,
                        index => self.expr(index, Precedence::Test)?,
                    }
                    self.text("]");
                }
            }
        }
        Ok(())
    }

    /// Arguments by position come first, wherever they stood.
    fn arguments(&mut self, arguments: &[Argument]) -> Written {
        let mut sorted: Vec<_> = arguments.iter().collect();
        sorted.sort_by_key(|a| !matches!(a, Argument::Positional(_)));
        self.list(&sorted, |w, argument| match argument {
            Argument::Positional(value) => w.expr(value, Precedence::Test),
            Argument::Keyword(name, value) => {
                let _ = write!(w.out, "{name}=");
                w.expr(value, Precedence::Test)
            }
            Argument::Unpacked(value) => {
                w.text("**");
                w.expr(value, Precedence::Test)
            }
        })
    }

    fn slice(&mut self, [lower, upper, step]: &[Option<Box<Expr>>; 3]) -> Written {
        if let Some(lower) = lower {
            self.expr(lower, Precedence::Test)?;
        }
        self.text(":");
        if let Some(upper) = upper {
            self.expr(upper, Precedence::Test)?;
        }
        if let Some(step) = step {
            self.text(":");
            self.expr(step, Precedence::Test)?;
        }
        Ok(())
    }

    /// Written between the first kind of quotes that its content does not contain.
    fn format_string(&mut self, parts: &[FormatPart]) -> Written {
        let mut inner = Self { out: String::new() };
        inner.format_parts(parts)?;
        let quotes = ["'", "\"", "'''", "\"\"\""];
        let quote = quotes.into_iter().find(|q| !inner.out.contains(q)).ok_or(SyntaxError)?;
        let _ = write!(self.out, "f{quote}{}{quote}", inner.out);
        Ok(())
    }

    fn format_parts(&mut self, parts: &[FormatPart]) -> Written {
        for part in parts {
            match part {
                FormatPart::Text(text) => {
                    for c in text.replace('{', "{{").replace('}', "}}").chars() {
                        if c != '\\' && is_printable(c) {
                            self.out.push(c);
                        } else {
                            self.out.extend(c.escape_default());
                        }
                    }
                }
                FormatPart::Field { value, conversion, spec } => {
                    let value = {
                        let mut inner = Self { out: String::new() };
                        inner.expr(value, Precedence::Or)?;
                        inner.out
                    };
                    if value.contains('\\') {
                        return Err(SyntaxError);
                    }
                    self.text(if value.starts_with('{') { "{ " } else { "{" });
                    self.text(&value);
                    if let Some(conversion) = conversion {
                        let _ = write!(self.out, "!{conversion}");
                    }
                    if let Some(spec) = spec {
                        self.text(":");
                        self.format_parts(spec)?;
                    }
                    self.text("}");
                }
            }
        }
        Ok(())
    }
}

/// How tightly an expression holds together; `None` for one that never needs parentheses.
fn precedence(expr: &Expr) -> Option<Precedence> {
    Some(match expr {
        Expr::Named(..) => Precedence::Named,
        Expr::Tuple(items) if !items.is_empty() => Precedence::Tuple,
        Expr::Yield(_) | Expr::YieldFrom(_) => Precedence::Yield,
        Expr::Conditional { .. } | Expr::Lambda(..) => Precedence::Test,
        Expr::Logical("or", _) => Precedence::Or,
        Expr::Logical(..) => Precedence::And,
        Expr::Unary(UnaryOp::Not, _) => Precedence::Not,
        Expr::Unary(..) => Precedence::Factor,
        Expr::Compare(..) => Precedence::Compare,
        Expr::Binary(_, rest) => rest.first()?.0.precedence(),
        Expr::Await(_) => Precedence::Await,
        _ => return None,
    })
}
