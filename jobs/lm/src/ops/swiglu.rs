//! SwiGLU: `y = silu(gate) · up`.

use burn::tensor::activation::sigmoid;

use super::host::{self, Numbers};
use crate::Rows;

/// `silu(gate) · up`, all of shape `[rows, features]`.
pub fn forward(gate: &Rows, up: &Rows) -> Rows {
    let (Some(g), Some(u)) = (Numbers::of(gate), Numbers::of(up)) else { return twin_forward(gate, up) };
    let mut y = vec![0.0; g.len()];
    host::wide(|| {
        for ((y, &g), &u) in y.iter_mut().zip(&*g).zip(&*u) {
            *y = open(g) * g * u;
        }
    });
    host::tensor(y, gate.dims())
}

/// `(d_gate, d_up)`, given `dy`.
pub fn backward(gate: &Rows, up: &Rows, dy: &Rows) -> (Rows, Rows) {
    let (Some(g), Some(u), Some(d)) = (Numbers::of(gate), Numbers::of(up), Numbers::of(dy)) else {
        return twin_backward(gate, up, dy);
    };
    let (mut d_gate, mut d_up) = (vec![0.0; g.len()], vec![0.0; g.len()]);
    host::wide(|| {
        let given = g.iter().zip(&*u).zip(&*d);
        for ((d_gate, d_up), ((&g, &u), &d)) in d_gate.iter_mut().zip(&mut d_up).zip(given) {
            let open = open(g);
            let silu = open * g;
            *d_gate = open * (g - silu + 1.0) * u * d;
            *d_up = silu * d;
        }
    });
    (host::tensor(d_gate, gate.dims()), host::tensor(d_up, gate.dims()))
}

/// The sigmoid.
#[inline(always)]
fn open(x: f32) -> f32 {
    1.0 / (1.0 + host::exp(-x))
}

/// [`forward`] by Burn's operations.
pub(super) fn twin_forward(gate: &Rows, up: &Rows) -> Rows {
    sigmoid(gate.clone()) * gate.clone() * up.clone()
}

/// [`backward`] by Burn's operations.
pub(super) fn twin_backward(gate: &Rows, up: &Rows, dy: &Rows) -> (Rows, Rows) {
    let open = sigmoid(gate.clone());
    let silu = open.clone() * gate.clone();
    let slope = open * (gate.clone() - silu.clone() + 1.0);
    (slope * up.clone() * dy.clone(), silu * dy.clone())
}
