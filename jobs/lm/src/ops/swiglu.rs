//! SwiGLU: `y = silu(gate) · up`.

use burn::tensor::activation::sigmoid;

use super::host::{self, Numbers};
use super::{like, to_host, widened};
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

/// `(d_gate, d_up)`, given `dy`; they take the memory of `gate` and `up` where nobody else holds it.
pub fn backward(gate: Rows, up: Rows, dy: &Rows) -> (Rows, Rows) {
    let shape = gate.dims();
    let d = Numbers::of(dy).filter(|_| host::here(&gate) && host::here(&up));
    let Some(d) = d else { return twin_backward(&gate, &up, dy) };
    let (mut gate, mut up) = (to_host(gate), to_host(up));
    host::wide(|| {
        for ((gate, up), &d) in gate.iter_mut().zip(&mut up).zip(&*d) {
            let (g, u) = (*gate, *up);
            let open = open(g);
            let silu = open * g;
            *gate = open * (g - silu + 1.0) * u * d;
            *up = silu * d;
        }
    });
    (host::tensor(gate, shape), host::tensor(up, shape))
}

/// The sigmoid.
#[inline(always)]
fn open(x: f32) -> f32 {
    1.0 / (1.0 + host::exp(-x))
}

/// [`forward`] by Burn's operations.
pub(super) fn twin_forward(gate: &Rows, up: &Rows) -> Rows {
    let wide = widened(gate.clone());
    like(sigmoid(wide.clone()) * wide * widened(up.clone()), gate)
}

/// [`backward`] by Burn's operations.
pub(super) fn twin_backward(gate: &Rows, up: &Rows, dy: &Rows) -> (Rows, Rows) {
    let (wide, d) = (widened(gate.clone()), widened(dy.clone()));
    let open = sigmoid(wide.clone());
    let silu = open.clone() * wide.clone();
    let slope = open * (wide - silu.clone() + 1.0);
    (like(slope * widened(up.clone()) * d.clone(), dy), like(silu * d, dy))
}
