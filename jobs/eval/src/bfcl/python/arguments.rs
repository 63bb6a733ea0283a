//! The inside of brackets that are not displays: call arguments, subscripts, lambda parameters.

use super::SyntaxError;
use super::ast::{Argument, Expr, Param};
use super::lexer::Token;
use super::parser::Parser;

impl Parser {
    /// What follows the `(` of a call.
    pub(super) fn arguments(&mut self) -> Result<Vec<Argument>, SyntaxError> {
        let mut arguments = Vec::new();
        let (mut keywords, mut unpacked) = (false, false);
        while !self.take(")") {
            if self.take("**") {
                arguments.push(Argument::Unpacked(self.expression()?));
                unpacked = true;
            } else if self.peek_is("*") {
                if unpacked {
                    return Err(SyntaxError);
                }
                arguments.push(Argument::Positional(self.unpacked()?));
            } else if matches!(self.peek(), Some(Token::Name(_))) && self.peek_ahead(1, "=") {
                let name = self.name()?;
                self.expect("=")?;
                arguments.push(Argument::Keyword(name, self.expression()?));
                keywords = true;
            } else {
                let value = self.named_expression()?;
                if keywords || unpacked {
                    return Err(SyntaxError);
                }
                if self.peek_is("for") || self.peek_is("async") {
                    let generator = self.comprehension(["(", ")"], value, None)?;
                    let alone = arguments.is_empty();
                    return if alone { Ok(vec![Argument::Positional(generator)]) } else { Err(SyntaxError) };
                }
                arguments.push(Argument::Positional(value));
            }
            if !self.peek_is(")") {
                self.expect(",")?;
            }
        }
        Ok(arguments)
    }

    /// `*x`; unlike in a display, any expression may follow the star.
    fn unpacked(&mut self) -> Result<Expr, SyntaxError> {
        self.expect("*")?;
        Ok(Expr::Starred(Box::new(self.expression()?)))
    }

    /// What follows the `[` of a subscript.
    pub(super) fn subscript(&mut self) -> Result<Expr, SyntaxError> {
        let mut items = Vec::new();
        loop {
            items.push(self.slice()?);
            let comma = self.take(",");
            if comma && !self.peek_is("]") {
                continue;
            }
            self.expect("]")?;
            return match items.pop() {
                Some(only) if items.is_empty() && !comma && !matches!(only, Expr::Starred(_)) => Ok(only),
                last => {
                    items.extend(last);
                    Ok(Expr::Tuple(items))
                }
            };
        }
    }

    fn slice(&mut self) -> Result<Expr, SyntaxError> {
        if self.peek_is("*") {
            return self.unpacked();
        }
        let lower = match self.peek_is(":") {
            true => None,
            false => Some(self.named_expression()?),
        };
        match lower {
            Some(index) if !self.peek_is(":") || matches!(index, Expr::Named(..)) => Ok(index),
            lower => {
                self.expect(":")?;
                let upper = self.bound()?;
                let step = if self.take(":") { self.bound()? } else { None };
                Ok(Expr::Slice([lower.map(Box::new), upper, step]))
            }
        }
    }

    fn bound(&mut self) -> Result<Option<Box<Expr>>, SyntaxError> {
        let absent = [":", ",", "]"].into_iter().any(|end| self.peek_is(end));
        Ok(if absent { None } else { Some(Box::new(self.expression()?)) })
    }

    /// What follows `lambda`.
    pub(super) fn lambda(&mut self) -> Result<Expr, SyntaxError> {
        let mut params: Vec<Param> = Vec::new();
        let (mut slash, mut star, mut double_star, mut defaults) = (false, false, false, false);
        while !self.peek_is(":") {
            if double_star {
                return Err(SyntaxError);
            }
            let (mark, named) = if self.take("/") {
                if slash || star || params.is_empty() {
                    return Err(SyntaxError);
                }
                slash = true;
                ("/", false)
            } else if self.take("**") {
                double_star = true;
                ("**", true)
            } else if self.take("*") {
                if star {
                    return Err(SyntaxError);
                }
                star = true;
                ("*", !self.peek_is(","))
            } else {
                ("", true)
            };
            let name = if named { Some(self.name()?) } else { None };
            let default = if mark.is_empty() && self.take("=") { Some(self.expression()?) } else { None };
            if mark.is_empty() && !star {
                if defaults && default.is_none() {
                    return Err(SyntaxError);
                }
                defaults = default.is_some();
            }
            params.push(Param { mark, name, default });
            if !self.peek_is(":") {
                self.expect(",")?;
            }
        }
        self.expect(":")?;
        let bare_star = params.iter().position(|p| p.mark == "*" && p.name.is_none());
        if bare_star.is_some_and(|i| params.get(i + 1).is_none_or(|next| !next.mark.is_empty())) {
            return Err(SyntaxError);
        }
        Ok(Expr::Lambda(params, Box::new(self.expression()?)))
    }
}
