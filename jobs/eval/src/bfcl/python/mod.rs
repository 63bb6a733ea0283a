//! A parser for single Python expressions, with CPython 3.11's rules.
//!
//! It accepts what `ast.parse(text, mode="eval")` accepts and bounds nesting, so that no input exhausts the stack.

mod arguments;
mod ast;
mod format_string;
mod lexer;
mod number;
mod parser;
mod string;
mod unparse;

#[cfg(test)]
mod tests;

pub(super) use ast::{Argument, BinaryOp, Expr, Suffix, UnaryOp};
pub(super) use parser::parse;
pub(super) use unparse::{unparse, unparse_before_last};

/// The text is not one Python expression. Verdicts do not depend on the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyntaxError;
