//! Layer norm over the last dimension, forward only: `y = (x - mean) · (var + ε)^-½ · w + b`.

use burn::tensor::Tensor;

use crate::Rows;

/// The normed rows; `weight` and `bias` are rows `[1, features]`.
pub fn forward(x: Rows, weight: &Tensor<2>, bias: &Tensor<2>, eps: f64) -> Rows {
    let centred = x.clone() - x.mean_dim(1);
    let scale = (centred.clone().square().mean_dim(1) + eps).sqrt().recip();
    centred * scale * weight.clone() + bias.clone()
}
