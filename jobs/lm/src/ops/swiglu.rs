//! SwiGLU: `y = silu(gate) · up`.

use burn::tensor::activation::sigmoid;

use crate::Rows;

/// `silu(gate) · up`, all of shape `[rows, features]`.
pub fn forward(gate: &Rows, up: &Rows) -> Rows {
    sigmoid(gate.clone()) * gate.clone() * up.clone()
}

/// `(d_gate, d_up)`, given `dy`.
pub fn backward(gate: &Rows, up: &Rows, dy: &Rows) -> (Rows, Rows) {
    let open = sigmoid(gate.clone());
    let silu = open.clone() * gate.clone();
    let slope = open * (gate.clone() - silu.clone() + 1.0);
    (slope * up.clone() * dy.clone(), silu * dy.clone())
}
