//! The syntax tree. Operator chains and suffixes are flat lists, so its depth is the nesting of the text.

use super::super::value::Value;

/// An expression.
#[derive(Debug, Clone)]
pub(in super::super) enum Expr {
    /// a number, text, bytes, `True`, `False`, `None` or `...`
    Constant(Value),
    /// a name, normalised to NFKC
    Name(String),
    /// an f-string, neighbours joined
    Format(Vec<FormatPart>),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `(a, b)`
    Tuple(Vec<Expr>),
    /// `{a, b}`
    Set(Vec<Expr>),
    /// `{k: v, **x}`; an unpacked mapping has no key
    Dict(Vec<(Option<Expr>, Expr)>),
    /// `*x`
    Starred(Box<Expr>),
    /// a sign, `~` or `not`
    Unary(UnaryOp, Box<Expr>),
    /// operators of one precedence, applied from the left; a power has one operator
    Binary(Box<Expr>, Vec<(BinaryOp, Expr)>),
    /// `a < b <= c`
    Compare(Box<Expr>, Vec<(&'static str, Expr)>),
    /// operands joined by `and` or `or`
    Logical(&'static str, Vec<Expr>),
    /// `body if test else other`
    Conditional { body: Box<Expr>, test: Box<Expr>, other: Box<Expr> },
    /// `lambda params: body`
    Lambda(Vec<Param>, Box<Expr>),
    /// `name := value`
    Named(String, Box<Expr>),
    /// `await x`
    Await(Box<Expr>),
    /// `yield`, `yield x`
    Yield(Option<Box<Expr>>),
    /// `yield from x`
    YieldFrom(Box<Expr>),
    /// a comprehension or generator
    Comprehension(Comprehension),
    /// an expression with at least one suffix; the expression itself has none
    Suffixed(Box<Expr>, Vec<Suffix>),
    /// `a:b:c`, only inside subscripts
    Slice([Option<Box<Expr>>; 3]),
}

/// What follows an expression without a blank between.
#[derive(Debug, Clone)]
pub(in super::super) enum Suffix {
    /// `.name`
    Attribute(String),
    /// `(arguments)`
    Call(Vec<Argument>),
    /// `[index]`
    Subscript(Expr),
}

/// One argument of a call.
#[derive(Debug, Clone)]
pub(in super::super) enum Argument {
    /// by position, also `*x`
    Positional(Expr),
    /// `name=value`
    Keyword(String, Expr),
    /// `**x`
    Unpacked(Expr),
}

/// One parameter of a lambda: its mark (``, `*`, `**`, or `/` and `*` without a name), name and default.
#[derive(Debug, Clone)]
pub(in super::super) struct Param {
    pub(super) mark: &'static str,
    pub(super) name: Option<String>,
    pub(super) default: Option<Expr>,
}

/// A comprehension of any bracket.
#[derive(Debug, Clone)]
pub(in super::super) struct Comprehension {
    /// opening and closing bracket
    pub(super) brackets: [&'static str; 2],
    pub(super) element: Box<Expr>,
    /// the value beside the key `element`; only in dict comprehensions
    pub(super) value: Option<Box<Expr>>,
    pub(super) clauses: Vec<Clause>,
}

/// `for target in iterable if condition ...`
#[derive(Debug, Clone)]
pub(in super::super) struct Clause {
    pub(super) is_async: bool,
    pub(super) target: Expr,
    pub(super) iterable: Expr,
    pub(super) conditions: Vec<Expr>,
}

/// A piece of an f-string.
#[derive(Debug, Clone)]
pub(in super::super) enum FormatPart {
    /// literal text, escapes resolved
    Text(String),
    /// `{value!conversion:spec}`
    Field { value: Box<Expr>, conversion: Option<char>, spec: Option<Vec<FormatPart>> },
}

/// A unary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum UnaryOp {
    Plus,
    Minus,
    Invert,
    Not,
}

impl UnaryOp {
    /// Its spelling.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Invert => "~",
            Self::Not => "not",
        }
    }
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum BinaryOp {
    Or,
    Xor,
    And,
    ShiftLeft,
    ShiftRight,
    Add,
    Subtract,
    Multiply,
    MatMultiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}

impl BinaryOp {
    const ALL: [Self; 13] = [
        Self::Or,
        Self::Xor,
        Self::And,
        Self::ShiftLeft,
        Self::ShiftRight,
        Self::Add,
        Self::Subtract,
        Self::Multiply,
        Self::MatMultiply,
        Self::Divide,
        Self::FloorDivide,
        Self::Modulo,
        Self::Power,
    ];

    /// The operator spelled so.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.text() == text)
    }

    /// How tightly it binds.
    pub(super) const fn precedence(self) -> Precedence {
        match self {
            Self::Or => Precedence::BitOr,
            Self::Xor => Precedence::BitXor,
            Self::And => Precedence::BitAnd,
            Self::ShiftLeft | Self::ShiftRight => Precedence::Shift,
            Self::Add | Self::Subtract => Precedence::Sum,
            Self::Multiply | Self::MatMultiply | Self::Divide | Self::FloorDivide | Self::Modulo => {
                Precedence::Term
            }
            Self::Power => Precedence::Power,
        }
    }

    /// Its spelling.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Or => "|",
            Self::Xor => "^",
            Self::And => "&",
            Self::ShiftLeft => "<<",
            Self::ShiftRight => ">>",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::MatMultiply => "@",
            Self::Divide => "/",
            Self::FloorDivide => "//",
            Self::Modulo => "%",
            Self::Power => "**",
        }
    }
}

/// How tightly an expression holds together, loosest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Precedence {
    Named,
    Tuple,
    Yield,
    Test,
    Or,
    And,
    Not,
    Compare,
    BitOr,
    BitXor,
    BitAnd,
    Shift,
    Sum,
    Term,
    Factor,
    Power,
    Await,
    Atom,
}

impl Precedence {
    /// The next tighter one; an atom is the tightest.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Named => Self::Tuple,
            Self::Tuple => Self::Yield,
            Self::Yield => Self::Test,
            Self::Test => Self::Or,
            Self::Or => Self::And,
            Self::And => Self::Not,
            Self::Not => Self::Compare,
            Self::Compare => Self::BitOr,
            Self::BitOr => Self::BitXor,
            Self::BitXor => Self::BitAnd,
            Self::BitAnd => Self::Shift,
            Self::Shift => Self::Sum,
            Self::Sum => Self::Term,
            Self::Term => Self::Factor,
            Self::Factor => Self::Power,
            Self::Power => Self::Await,
            Self::Await | Self::Atom => Self::Atom,
        }
    }
}
