//! Linear projection: `y = x Wᵀ + b`, with `W` of shape `[out, in]` as in checkpoints and `b` a row `[1, out]`.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::host::{self, Matrix, Numbers, Target, multiply};
use crate::Rows;

/// Which way a weight `[out, in]` is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `x Wᵀ`: from inputs to outputs.
    Forward,
    /// `x W`: from outputs to inputs.
    Backward,
}

/// Rows times a weight; in f32 on the CPU each row's bits are the same whatever rows stand beside it.
///
/// The CPU's matrix product takes other paths, with another order of summation, for a single row and for small results of few rows;
/// such products are filled up with zero rows.
pub fn product(x: &Rows, weight: &Tensor<2>, way: Way) -> Rows {
    let (Some(numbers), Some(w)) = (Numbers::of(x), Numbers::of(weight)) else {
        return twin_product(x, weight, way);
    };
    let ([rows, depth], w) = (x.dims(), matrix(&w, weight.dims(), way));
    let (width, least) = (w.columns(), least_rows(w.columns()));
    if rows == 0 || rows >= least {
        return host::tensor(host::product(Matrix::dense(&numbers, rows, depth), w), [rows, width]);
    }
    let mut filled = numbers.to_vec();
    filled.resize(least * depth, 0.0);
    let mut y = host::product(Matrix::dense(&filled, least, depth), w);
    y.truncate(rows * width);
    host::tensor(y, [rows, width])
}

/// [`product`] by Burn's operations.
fn twin_product(x: &Rows, weight: &Tensor<2>, way: Way) -> Rows {
    x.clone().matmul(match way {
        Way::Forward => weight.clone().transpose(),
        Way::Backward => weight.clone(),
    })
}

fn matrix(weight: &[f32], [output, input]: [usize; 2], way: Way) -> Matrix<'_> {
    let weight = Matrix::dense(weight, output, input);
    match way {
        Way::Forward => weight.t(),
        Way::Backward => weight,
    }
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
    let y = match multiply {
        Multiply::Together => match bias.and_then(|bias| onto_bias(x, weight, bias)) {
            Some(y) => return y,
            None => product(x, weight, Way::Forward),
        },
        Multiply::OneByOne => product_one_by_one(x.clone(), weight.clone().transpose()),
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
    let (x, w) = (Matrix::dense(&x, rows, input), matrix(&w, [output, input], Way::Forward));
    multiply(Target::add(&mut y, output), 1.0, x, w);
    Some(host::tensor(y, [rows, output]))
}

/// `dx = dy W`.
pub fn backward_input(dy: &Rows, weight: &Tensor<2>) -> Rows {
    product(dy, weight, Way::Backward)
}

/// `dW = dyᵀ x`, summed over all rows.
pub fn backward_weight(x: &Rows, dy: &Rows) -> Tensor<2> {
    dy.clone().transpose().matmul(x.clone())
}

/// `db`, a row `[1, out]`, summed over all rows.
pub fn backward_bias(dy: &Rows) -> Tensor<2> {
    dy.clone().sum_dim(0)
}
