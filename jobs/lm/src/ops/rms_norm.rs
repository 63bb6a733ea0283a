//! RMS norm over the last dimension: `y = x · (mean(x²) + ε)^-½ · w`, with `w` a row `[1, features]`.

use burn::tensor::Tensor;

use crate::Rows;

/// What the backward pass needs.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The input.
    pub x: Rows,
    /// `(mean(x²) + ε)^-½` of each row, `[rows, 1]`.
    pub scale: Tensor<2>,
}

/// The normed rows and what [`backward`] needs.
pub fn forward(x: Rows, weight: &Tensor<2>, eps: f64) -> (Rows, Saved) {
    let scale = (x.clone().square().mean_dim(1) + eps).sqrt().recip();
    let y = x.clone() * scale.clone() * weight.clone();
    (y, Saved { x, scale })
}

/// `dx`, given `dy`.
pub fn backward(saved: &Saved, weight: &Tensor<2>, dy: &Rows) -> Rows {
    let unit = saved.x.clone() * saved.scale.clone();
    let d_unit = dy.clone() * weight.clone();
    let along = (d_unit.clone() * unit.clone()).mean_dim(1);
    (d_unit - unit * along) * saved.scale.clone()
}

/// `dw`, a row `[1, features]`, summed over all rows.
pub fn backward_weight(saved: &Saved, dy: &Rows) -> Tensor<2> {
    (dy.clone() * saved.x.clone() * saved.scale.clone()).sum_dim(0)
}
