//! Python's arithmetic: unbounded integers, doubles, complex numbers.

use num_bigint::{BigInt, Sign};
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::evaluate::Budget;
use super::python::BinaryOp;
use super::value::{Value, integral};

/// A number, truth values as integers.
#[derive(Debug, Clone)]
pub(super) enum Number {
    Int(BigInt),
    Float(f64),
    Complex(f64, f64),
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(i) => Self::Int(i),
            Number::Float(f) => Self::Float(f),
            Number::Complex(re, im) => Self::Complex(re, im),
        }
    }
}

impl Number {
    /// The value as a number, if it is one.
    pub(super) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(Self::Int(u8::from(b).into())),
            Value::Int(i) => Some(Self::Int(i)),
            Value::Float(f) => Some(Self::Float(f)),
            Value::Complex(re, im) => Some(Self::Complex(re, im)),
            _ => None,
        }
    }

    /// Applies an operator; `None` where Python raises or the budget is spent.
    pub(super) fn apply(self, op: BinaryOp, other: Self, budget: &mut Budget) -> Option<Self> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => ints(op, &a, &b, budget),
            (Self::Complex(re, im), other) => complex(op, (re, im), other.to_complex()?),
            (this, Self::Complex(re, im)) => complex(op, this.to_complex()?, (re, im)),
            (this, other) => floats(op, this.to_float()?, other.to_float()?),
        }
    }

    /// The nearest double; `None` when the integer lies beyond the range or the number is complex.
    pub(super) fn to_float(&self) -> Option<f64> {
        match self {
            Self::Int(i) => int_to_float(i),
            Self::Float(f) => Some(*f),
            Self::Complex(..) => None,
        }
    }

    fn to_complex(&self) -> Option<(f64, f64)> {
        match self {
            Self::Complex(re, im) => Some((*re, *im)),
            real => Some((real.to_float()?, 0.0)),
        }
    }
}

/// The double nearest to an integer; `None` beyond the range of doubles.
pub(super) fn int_to_float(i: &BigInt) -> Option<f64> {
    i.to_f64().filter(|f| f.is_finite())
}

fn words(i: &BigInt) -> u64 {
    i.bits() / 64 + 1
}

/// Pays for a result that is far longer than its operands as for a long multiplication of that length.
fn spend_on_bits(bits: u64, budget: &mut Budget) -> Option<()> {
    let words = bits / 64 + 1;
    budget.spend(words.checked_mul(words)?)
}

fn ints(op: BinaryOp, a: &BigInt, b: &BigInt, budget: &mut Budget) -> Option<Number> {
    budget.spend(words(a) + words(b))?;
    Some(Number::Int(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::And => a & b,
        BinaryOp::Or => a | b,
        BinaryOp::Xor => a ^ b,
        BinaryOp::Multiply => {
            budget.spend(words(a).checked_mul(words(b))?)?;
            a * b
        }
        BinaryOp::Divide => return true_division(a, b, budget).map(Number::Float),
        BinaryOp::FloorDivide => floor_division(a, b, budget)?.0,
        BinaryOp::Modulo => floor_division(a, b, budget)?.1,
        BinaryOp::Power => return int_power(a, b, budget),
        BinaryOp::ShiftLeft if b.is_negative() => return None,
        BinaryOp::ShiftLeft if a.is_zero() => BigInt::zero(),
        BinaryOp::ShiftLeft => {
            let by = b.to_u64()?;
            spend_on_bits(a.bits().checked_add(by)?, budget)?;
            a << by
        }
        BinaryOp::ShiftRight if b.is_negative() => return None,
        BinaryOp::ShiftRight => a >> b.to_u64().unwrap_or(u64::MAX).min(a.bits() + 1),
        BinaryOp::MatMultiply => return None,
    }))
}

/// Quotient rounded down, and the remainder with the divisor's sign.
fn floor_division(a: &BigInt, b: &BigInt, budget: &mut Budget) -> Option<(BigInt, BigInt)> {
    budget.spend(words(a).checked_mul(words(b))?)?;
    let (quotient, remainder) = (a.checked_div(b)?, a % b);
    let down = !remainder.is_zero() && remainder.is_negative() != b.is_negative();
    Some(if down { (quotient - 1, remainder + b) } else { (quotient, remainder) })
}

fn int_power(base: &BigInt, exponent: &BigInt, budget: &mut Budget) -> Option<Number> {
    if exponent.is_negative() {
        return floats(BinaryOp::Power, int_to_float(base)?, int_to_float(exponent)?);
    }
    if base.is_zero() || base.abs().is_one() {
        let odd = exponent.bit(0);
        let result = if exponent.is_zero() || !odd { base * base } else { base.clone() };
        return Some(Number::Int(if exponent.is_zero() { BigInt::one() } else { result }));
    }
    let exponent = exponent.to_u32()?;
    spend_on_bits(base.bits().checked_mul(exponent.into())?, budget)?;
    Some(Number::Int(base.pow(exponent)))
}

/// The double nearest to the exact quotient.
fn true_division(a: &BigInt, b: &BigInt, budget: &mut Budget) -> Option<f64> {
    const EXACT: u64 = 53;
    if b.is_zero() {
        return None;
    }
    if a.bits() <= EXACT && b.bits() <= EXACT {
        return Some(int_to_float(a)? / int_to_float(b)?);
    }
    budget.spend(words(a).checked_mul(words(b))?.checked_mul(2)?)?;
    // Scaled so that the quotient has more bits than a double; a remainder is kept as a lowest bit for rounding.
    let scale = i64::try_from(b.bits()).ok()? - i64::try_from(a.bits()).ok()? + 70;
    let by = scale.unsigned_abs();
    let (dividend, divisor) = if scale > 0 { (a << by, b.clone()) } else { (a.clone(), b << by) };
    let mut quotient = (&dividend / &divisor).abs();
    if !(&dividend % &divisor).is_zero() {
        quotient |= BigInt::one();
    }
    let unsigned = scaled(int_to_float(&quotient)?, -scale);
    let negative = (a.sign() == Sign::Minus) != (b.sign() == Sign::Minus);
    Some(if negative { -unsigned } else { unsigned }).filter(|f| f.is_finite())
}

/// `x * 2^exponent`
fn scaled(mut x: f64, mut exponent: i64) -> f64 {
    while exponent != 0 && x != 0.0 && x.is_finite() {
        let step = exponent.clamp(-900, 900);
        exponent -= step;
        x *= 2f64.powi(i32::try_from(step).unwrap_or_default());
    }
    x
}

fn floats(op: BinaryOp, a: f64, b: f64) -> Option<Number> {
    Some(Number::Float(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide | BinaryOp::FloorDivide | BinaryOp::Modulo if b == 0.0 => return None,
        BinaryOp::Divide => a / b,
        BinaryOp::FloorDivide => float_floor_division(a, b).0,
        BinaryOp::Modulo => float_floor_division(a, b).1,
        BinaryOp::Power if a == 0.0 && b < 0.0 => return None,
        BinaryOp::Power if a < 0.0 && a.is_finite() && b.is_finite() && integral(b).is_none() => {
            return complex(op, (a, 0.0), (b, 0.0));
        }
        BinaryOp::Power => {
            let result = a.powf(b);
            if result.is_infinite() && a.is_finite() && b.is_finite() {
                return None;
            }
            result
        }
        _ => return None,
    }))
}

/// Quotient rounded down and the remainder with the divisor's sign, in CPython's steps.
fn float_floor_division(a: f64, b: f64) -> (f64, f64) {
    let mut remainder = a % b;
    let mut quotient = (a - remainder) / b;
    if remainder == 0.0 {
        remainder = 0f64.copysign(b);
    } else if (b < 0.0) != (remainder < 0.0) {
        remainder += b;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0f64.copysign(a / b), remainder);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, remainder)
}

fn complex(op: BinaryOp, (a, b): (f64, f64), (c, d): (f64, f64)) -> Option<Number> {
    let (re, im) = match op {
        BinaryOp::Add => (a + c, b + d),
        BinaryOp::Subtract => (a - c, b - d),
        BinaryOp::Multiply => (a * c - b * d, a * d + b * c),
        BinaryOp::Divide if c == 0.0 && d == 0.0 => return None,
        BinaryOp::Divide => {
            let norm = c * c + d * d;
            ((a * c + b * d) / norm, (b * c - a * d) / norm)
        }
        BinaryOp::Power if c == 0.0 && d == 0.0 => (1.0, 0.0),
        BinaryOp::Power if a == 0.0 && b == 0.0 => {
            if d != 0.0 || c < 0.0 {
                return None;
            }
            (0.0, 0.0)
        }
        BinaryOp::Power => {
            let (radius, angle) = (a.hypot(b), b.atan2(a));
            let size = radius.powf(c) * (-angle * d).exp();
            let turn = angle * c + d * radius.ln();
            (size * turn.cos(), size * turn.sin())
        }
        _ => return None,
    };
    // Only a power raises on overflow.
    let overflow = op == BinaryOp::Power && !(re.is_finite() && im.is_finite());
    if overflow { None } else { Some(Number::Complex(re, im)) }
}
