//! RMS norm over the last dimension: `y = x · (mean(x²) + ε)^-½ · w`, with `w` a row `[1, features]`.

use burn::tensor::Tensor;

use super::host::{self, Numbers};
use super::{like, widened};
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
    let (Some(numbers), Some(w)) = (Numbers::of(&x), Numbers::of(weight)) else {
        return twin_forward(x, weight, eps);
    };
    let [rows, width] = x.dims();
    let (mut y, mut scales) = (vec![0.0; rows * width], vec![0.0; rows]);
    host::wide(|| {
        let given = numbers.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), scale) in given.zip(&mut scales) {
            let mean = host::sum2(x, x, |a, b| a * b) / width as f32;
            *scale = 1.0 / (mean + eps as f32).sqrt();
            scaled(x, *scale, &w, y);
        }
    });
    (host::tensor(y, [rows, width]), Saved { x, scale: host::tensor(scales, [rows, 1]) })
}

/// The normed rows once more, with the bits that [`forward`] gave.
pub fn normed(saved: &Saved, weight: &Tensor<2>) -> Rows {
    let (Some(x), Some(w), Some(scales)) =
        (Numbers::of(&saved.x), Numbers::of(weight), Numbers::of(&saved.scale))
    else {
        let y = widened(saved.x.clone()) * saved.scale.clone() * widened(weight.clone());
        return like(y, &saved.x);
    };
    let [rows, width] = saved.x.dims();
    let mut y = vec![0.0; rows * width];
    host::wide(|| {
        for ((x, y), &scale) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(&*scales) {
            scaled(x, scale, &w, y);
        }
    });
    host::tensor(y, [rows, width])
}

/// One row, `y = x · scale · w`.
#[inline(always)]
fn scaled(x: &[f32], scale: f32, w: &[f32], y: &mut [f32]) {
    for ((y, &x), &w) in y.iter_mut().zip(x).zip(w) {
        *y = x * scale * w;
    }
}

/// `dx`, given `dy`, whose memory it takes where nobody else holds it.
pub fn backward(saved: &Saved, weight: &Tensor<2>, dy: Rows) -> Rows {
    let shape = dy.dims();
    let (Some(x), Some(scales), Some(w)) =
        (Numbers::of(&saved.x), Numbers::of(&saved.scale), Numbers::of(weight))
    else {
        return twin_backward(saved, weight, &dy);
    };
    let mut dx = match host::into_numbers(dy) {
        Ok(dx) => dx,
        Err(dy) => return twin_backward(saved, weight, &dy),
    };
    let width = shape[1];
    host::wide(|| {
        let given = x.chunks_exact(width).zip(&*scales);
        for (dx, (x, &scale)) in dx.chunks_exact_mut(width).zip(given) {
            dx.iter_mut().zip(&*w).for_each(|(dy, &w)| *dy *= w);
            let along = host::sum2(dx, x, |d_unit, x| d_unit * (x * scale)) / width as f32;
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx = (*dx - x * scale * along) * scale;
            }
        }
    });
    host::tensor(dx, shape)
}

/// `dw`, a row `[1, features]`, summed over all rows.
pub fn backward_weight(saved: &Saved, dy: &Rows) -> Tensor<2> {
    (widened(dy.clone()) * widened(saved.x.clone()) * saved.scale.clone()).sum_dim(0)
}

/// [`forward`] by Burn's operations.
pub(super) fn twin_forward(x: Rows, weight: &Tensor<2>, eps: f64) -> (Rows, Saved) {
    let wide = widened(x.clone());
    let scale = (wide.clone().square().mean_dim(1) + eps).sqrt().recip();
    let y = like(wide * scale.clone() * widened(weight.clone()), &x);
    (y, Saved { x, scale })
}

/// [`backward`] by Burn's operations.
pub(super) fn twin_backward(saved: &Saved, weight: &Tensor<2>, dy: &Rows) -> Rows {
    let unit = widened(saved.x.clone()) * saved.scale.clone();
    let d_unit = widened(dy.clone()) * widened(weight.clone());
    let along = (d_unit.clone() * unit.clone()).mean_dim(1);
    like((d_unit - unit * along) * saved.scale.clone(), dy)
}
