//! Operators over literals, evaluated as Python does, within a budget.

use num_traits::{ToPrimitive, Zero};

use super::number::Number;
use super::percent;
use super::python::{BinaryOp, Expr, UnaryOp};
use super::render::int_repr;
use super::value::Value;

/// Work units for one text: about one per byte made, and the product of lengths for long multiplication.
const BUDGET: u64 = 1 << 25;

/// Evaluates expressions. `None` stands for every way in which Python would raise, and for a spent budget.
pub(super) struct Evaluator {
    budget: Budget,
}

/// What evaluation may still cost.
pub(super) struct Budget {
    left: u64,
}

impl Budget {
    /// Pays for work before it is done; `None` when too little is left.
    pub(super) fn spend(&mut self, units: u64) -> Option<()> {
        self.left = self.left.checked_sub(units)?;
        Some(())
    }
}

impl Evaluator {
    /// An evaluator with a full budget.
    pub(super) fn new() -> Self {
        Self { budget: Budget { left: BUDGET } }
    }

    /// The value of literals joined by operators.
    pub(super) fn evaluate(&mut self, expr: &Expr) -> Option<Value> {
        match expr {
            // The official decoder prints the expression before it evaluates it.
            Expr::Constant(Value::Int(i)) if int_repr(i).is_none() => None,
            Expr::Constant(value) => Some(value.clone()),
            Expr::Unary(op, operand) => unary(*op, self.evaluate(operand)?),
            Expr::Binary(first, rest) => {
                let mut value = self.evaluate(first)?;
                for (op, operand) in rest {
                    let operand = self.evaluate(operand)?;
                    value = self.binary(*op, value, operand)?;
                }
                Some(value)
            }
            Expr::List(items) => Some(Value::List(self.all(items)?)),
            Expr::Tuple(items) => Some(Value::Tuple(self.all(items)?)),
            Expr::Dict(pairs) => {
                let mut evaluated = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    evaluated.push((self.evaluate(key.as_ref()?)?, self.evaluate(value)?));
                }
                Value::dict(evaluated)
            }
            _ => None,
        }
    }

    fn all(&mut self, items: &[Expr]) -> Option<Vec<Value>> {
        items.iter().map(|item| self.evaluate(item)).collect()
    }

    fn binary(&mut self, op: BinaryOp, left: Value, right: Value) -> Option<Value> {
        match (op, left, right) {
            (BinaryOp::Modulo, Value::Str(format), args) => percent::text(&format, &args, &mut self.budget),
            (BinaryOp::Modulo, Value::Bytes(format), args) => {
                percent::bytes(&format, &args, &mut self.budget)
            }
            (BinaryOp::Add, left, right) if !is_number(&left) => {
                self.budget.spend(weight(&left).checked_add(weight(&right))?)?;
                concatenated(left, right)
            }
            (BinaryOp::Multiply, times, sequence) | (BinaryOp::Multiply, sequence, times)
                if is_number(&times) && !is_number(&sequence) =>
            {
                self.repeated(&sequence, &times)
            }
            (BinaryOp::Or, Value::Dict(left), Value::Dict(right)) => {
                let pairs: Vec<_> = left.into_iter().chain(right).collect();
                self.budget.spend(pairs.iter().map(|(k, v)| weight(k) + weight(v)).sum())?;
                Value::dict(pairs)
            }
            (BinaryOp::And | BinaryOp::Or | BinaryOp::Xor, Value::Bool(a), Value::Bool(b)) => {
                Some(Value::Bool(match op {
                    BinaryOp::And => a & b,
                    BinaryOp::Or => a | b,
                    _ => a ^ b,
                }))
            }
            (op, left, right) => {
                Number::of(left)?.apply(op, Number::of(right)?, &mut self.budget).map(Value::from)
            }
        }
    }

    fn repeated(&mut self, sequence: &Value, times: &Value) -> Option<Value> {
        let times = match times {
            Value::Bool(b) => u64::from(*b),
            Value::Int(i) if i.sign() == num_bigint::Sign::Minus => 0,
            // Python wants the count to fit an index even where the sequence is empty.
            Value::Int(i) => i.to_u64().filter(|n| i64::try_from(*n).is_ok())?,
            _ => return None,
        };
        let times = if is_true(sequence) { times } else { 0 };
        self.budget.spend(weight(sequence).checked_mul(times)?)?;
        let times = usize::try_from(times).ok()?;
        let copies = |items: &[Value]| std::iter::repeat_n(items, times).flatten().cloned().collect();
        match sequence {
            Value::Str(text) => Some(Value::Str(text.repeat(times))),
            Value::Bytes(bytes) => Some(Value::Bytes(bytes.repeat(times))),
            Value::List(items) => Some(Value::List(copies(items))),
            Value::Tuple(items) => Some(Value::Tuple(copies(items))),
            _ => None,
        }
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Complex(..))
}

/// Roughly the bytes that a copy of the value takes.
fn weight(value: &Value) -> u64 {
    let length = |n: usize| u64::try_from(n).unwrap_or(u64::MAX / 2);
    match value {
        Value::None | Value::Ellipsis | Value::Bool(_) | Value::Float(_) | Value::Complex(..) => 8,
        Value::Int(i) => 8 + i.bits() / 8,
        Value::Str(text) => 1 + length(text.len()),
        Value::Bytes(bytes) => 1 + length(bytes.len()),
        Value::List(items) | Value::Tuple(items) => 8 + items.iter().map(weight).sum::<u64>(),
        Value::Dict(pairs) => 8 + pairs.iter().map(|(k, v)| weight(k) + weight(v)).sum::<u64>(),
    }
}

fn concatenated(left: Value, right: Value) -> Option<Value> {
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => Some(Value::Str(a + &b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(Value::Bytes([a, b].concat())),
        (Value::List(a), Value::List(b)) => Some(Value::List([a, b].concat())),
        (Value::Tuple(a), Value::Tuple(b)) => Some(Value::Tuple([a, b].concat())),
        _ => None,
    }
}

fn unary(op: UnaryOp, operand: Value) -> Option<Value> {
    if op == UnaryOp::Not {
        return Some(Value::Bool(!is_true(&operand)));
    }
    let number = Number::of(operand)?;
    Some(Value::from(match (op, number) {
        (UnaryOp::Plus, number) => number,
        (UnaryOp::Minus, Number::Int(i)) => Number::Int(-i),
        (UnaryOp::Minus, Number::Float(f)) => Number::Float(-f),
        (UnaryOp::Minus, Number::Complex(re, im)) => Number::Complex(-re, -im),
        (UnaryOp::Invert, Number::Int(i)) => Number::Int(!i),
        (UnaryOp::Invert | UnaryOp::Not, _) => return None,
    }))
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::None => false,
        Value::Ellipsis => true,
        Value::Bool(b) => *b,
        Value::Int(i) => !i.is_zero(),
        Value::Float(f) => *f != 0.0,
        Value::Complex(re, im) => *re != 0.0 || *im != 0.0,
        Value::Str(text) => !text.is_empty(),
        Value::Bytes(bytes) => !bytes.is_empty(),
        Value::List(items) | Value::Tuple(items) => !items.is_empty(),
        Value::Dict(pairs) => !pairs.is_empty(),
    }
}
