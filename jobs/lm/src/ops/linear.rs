//! Linear projection: `y = x Wᵀ + b`, with `W` of shape `[out, in]` as in checkpoints and `b` a row `[1, out]`.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::host::{self, Matrix, Numbers, Target, multiply};
use crate::Rows;

/// `x w` with `x` of shape `[rows, in]` and `w` of shape `[in, out]`, each row's bits the same whatever rows stand beside it.
///
/// The CPU's matrix product takes other paths, with another order of summation, for a single row and for small results of few rows;
/// such products are filled up with zero rows.
pub fn product(x: Rows, w: Tensor<2>) -> Rows {
    let [rows, input] = x.dims();
    let least = least_rows(w.dims()[1]);
    if rows == 0 || rows >= least {
        return x.matmul(w);
    }
    let filling = Tensor::zeros([least - rows, input], &x.device());
    Tensor::cat(vec![x, filling], 0).matmul(w).slice(0..rows)
}

/// Rows from which on a product of this width takes the general path: a result wider or taller than 64 and of more than 256 numbers.
fn least_rows(width: usize) -> usize {
    if width <= 64 { 65 } else { 4 }
}

/// `x w` row by row: for a few rows, as in generation, several times faster on the CPU than [`product`], but of other bits.
fn product_one_by_one(x: Rows, w: Tensor<2>) -> Rows {
    let row = |row: usize| x.clone().slice(row..row + 1).matmul(w.clone());
    Tensor::cat((0..x.dims()[0]).into_par_iter().map(row).collect(), 0)
}

/// How the rows of a pass are multiplied; either way no row's bits depend on the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiply {
    /// In one product: passes over whole sequences.
    Together,
    /// Each by itself: steps of generation.
    OneByOne,
}

/// `y = x Wᵀ + b`.
pub fn forward(x: &Rows, weight: &Tensor<2>, bias: Option<&Tensor<2>>, multiply: Multiply) -> Rows {
    let w = weight.clone().transpose();
    let y = match multiply {
        Multiply::Together => match bias.and_then(|bias| onto_bias(x, weight, bias)) {
            Some(y) => return y,
            None => product(x.clone(), w),
        },
        Multiply::OneByOne => product_one_by_one(x.clone(), w),
    };
    match bias {
        Some(bias) => y + bias.clone(),
        None => y,
    }
}

/// The product added into rows that hold the bias already, which saves a pass over them; `None` for so few rows that [`product`] fills them
/// up.
fn onto_bias(x: &Rows, weight: &Tensor<2>, bias: &Tensor<2>) -> Option<Rows> {
    let ([rows, input], [output, _]) = (x.dims(), weight.dims());
    if rows < least_rows(output) {
        return None;
    }
    let (x, w) = (Numbers::of(x)?, Numbers::of(weight)?);
    let mut y = Numbers::of(bias)?.repeat(rows);
    let (x, w) = (Matrix::dense(&x, rows, input), Matrix::dense(&w, output, input));
    multiply(Target::add(&mut y, output), 1.0, x, w.t());
    Some(host::tensor(y, [rows, output]))
}

/// `dx = dy W`.
pub fn backward_input(dy: &Rows, weight: &Tensor<2>) -> Rows {
    product(dy.clone(), weight.clone())
}

/// `dW = dyᵀ x`, summed over all rows.
pub fn backward_weight(x: &Rows, dy: &Rows) -> Tensor<2> {
    dy.clone().transpose().matmul(x.clone())
}

/// `db`, a row `[1, out]`, summed over all rows.
pub fn backward_bias(dy: &Rows) -> Tensor<2> {
    dy.clone().sum_dim(0)
}
