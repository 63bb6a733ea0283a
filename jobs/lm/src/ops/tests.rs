//! Every operation against its twin: the same function of Burn's differentiable operations, and what its autodiff gives.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use burn::tensor::activation::{log_softmax, silu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use jobs_spec::model::{Rope, RopeScaling};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::attention::{self, Heads, Sight};
use super::linear::{Multiply, Way};
use super::rotary::Rotation;
use super::{embedding, head, linear, rms_norm, swiglu, to_host};
use crate::batch::PackedBatch;

/// Reproducible tensors, plain and for the twin.
struct Draw(ChaCha12Rng);

impl Draw {
    fn new() -> Self {
        Self::seeded(11)
    }

    fn seeded(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    fn plain<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.0.random_range(-1.5..1.5)).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }
}

fn tracked<const D: usize>(plain: &Tensor<D>) -> Tensor<D> {
    Tensor::from_data(plain.to_data(), &Device::flex().autodiff()).require_grad()
}

/// The twin's gradients of `Σ y · dy`.
macro_rules! twin_gradients {
    ($y:expr, $dy:expr, $($leaf:expr),+) => {{
        let dy = Tensor::from_data($dy.to_data(), &Device::flex().autodiff());
        let gradients = ($y * dy).sum().backward();
        ($($leaf.grad(&gradients).unwrap()),+)
    }};
}

mod random_shapes;

fn assert_same<const D: usize>(got: Tensor<D>, twin: Tensor<D>) {
    assert_eq!(got.dims(), twin.dims());
    for (index, (a, b)) in to_host(got).into_iter().zip(to_host(twin)).enumerate() {
        assert!((a - b).abs() <= 2e-5 * (1.0 + b.abs()), "at {index}: {a}, twin {b}");
    }
}

#[test]
fn linear_projection() {
    let mut draw = Draw::new();
    let (x, w, b, dy) = (draw.plain([9, 12]), draw.plain([20, 12]), draw.plain([1, 20]), draw.plain([9, 20]));
    let (tx, tw, tb) = (tracked(&x), tracked(&w), tracked(&b));
    let y = tx.clone().matmul(tw.clone().transpose()) + tb.clone();
    assert_same(linear::forward(&x, &w, Some(&b), Multiply::Together), y.clone().without_autodiff());
    assert_same(linear::forward(&x, &w, Some(&b), Multiply::OneByOne), y.clone().without_autodiff());
    let (dx, dw, db) = twin_gradients!(y, dy, tx, tw, tb);
    assert_same(linear::backward_input(&dy, &w), dx);
    assert_same(linear::backward_weight(&x, &dy), dw);
    assert_same(linear::backward_bias(&dy), db);
}

#[test]
fn products_of_few_rows_have_the_bits_of_many() {
    let mut draw = Draw::new();
    for (depth, width) in
        [(8, 8), (40, 16), (1300, 16), (1300, 64), (96, 65), (96, 85), (700, 130), (64, 300)]
    {
        let x = draw.plain([80, depth]);
        for (way, w) in
            [(Way::Backward, draw.plain([depth, width])), (Way::Forward, draw.plain([width, depth]))]
        {
            let all = to_host(linear::product(&x, &w, way));
            for rows in [0..1, 3..5, 10..17, 0..64, 15..80] {
                let some = to_host(linear::product(&x.clone().slice(rows.clone()), &w, way));
                let same = all[rows.start * width..rows.end * width].iter().zip(&some);
                assert!(
                    same.into_iter().all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{depth} {width} {rows:?}"
                );
            }
        }
    }
}

#[test]
fn rms_norm_of_rows() {
    let mut draw = Draw::new();
    let (x, w, dy) = (draw.plain([7, 16]), draw.plain([1, 16]), draw.plain([7, 16]));
    let (tx, tw) = (tracked(&x), tracked(&w));
    let y = tx.clone() / (tx.clone().square().mean_dim(1) + 1e-3).sqrt() * tw.clone();
    let (got, saved) = rms_norm::forward(x, &w, 1e-3);
    assert_same(got, y.clone().without_autodiff());
    let (dx, dw) = twin_gradients!(y, dy, tx, tw);
    assert_same(rms_norm::backward(&saved, &w, dy.clone()), dx);
    assert_same(rms_norm::backward_weight(&saved, &dy), dw);
}

#[test]
fn rotary_positions() {
    let mut draw = Draw::new();
    let rope = Rope { theta: 1e4, scaling: RopeScaling::None };
    let rotation = Rotation::new(&rope, 6, &[0, 1, 2, 0, 1], &Device::flex());
    let (x, dy) = (draw.plain([5, 2, 6]), draw.plain([5, 2, 6]));
    let y = to_host(rotation.forward(x.clone()));
    let x = to_host(x);
    for (row, position) in [0.0_f64, 1.0, 2.0, 0.0, 1.0].into_iter().enumerate() {
        for (head, pair) in (0..2).flat_map(|head| (0..3).map(move |pair| (head, pair))) {
            let (sin, cos) = (position * 1e4_f64.powf(-(pair as f64) / 3.0)).sin_cos();
            let first = (row * 2 + head) * 6 + pair;
            let (a, b) = (f64::from(x[first]), f64::from(x[first + 3]));
            assert!((f64::from(y[first]) - (a * cos - b * sin)).abs() < 1e-6);
            assert!((f64::from(y[first + 3]) - (b * cos + a * sin)).abs() < 1e-6);
        }
    }
    // A turn keeps lengths, so turning backward is both its gradient and its inverse.
    assert_same(rotation.backward(rotation.forward(dy.clone())), dy);
}

#[test]
fn swiglu_of_rows() {
    let mut draw = Draw::new();
    let (gate, up, dy) = (draw.plain([6, 10]) * 3.0, draw.plain([6, 10]), draw.plain([6, 10]));
    let (tg, tu) = (tracked(&gate), tracked(&up));
    let y = silu(tg.clone()) * tu.clone();
    assert_same(swiglu::forward(&gate, &up), y.clone().without_autodiff());
    let (d_gate, d_up) = twin_gradients!(y, dy, tg, tu);
    let (got_gate, got_up) = swiglu::backward(gate.clone(), up.clone(), &dy);
    assert_same(got_gate, d_gate);
    assert_same(got_up, d_up);
}

/// Attention of one segment with keys and values repeated and a plain mask.
fn twin_attention(heads: &Heads, rows: std::ops::Range<usize>, sight: Sight) -> Tensor<2> {
    let [_, count, width] = heads.q.dims();
    let (len, kv_heads) = (rows.len(), heads.k.dims()[1]);
    let repeated = |x: &Tensor<3>| {
        let shape = [len, kv_heads, count / kv_heads, width];
        let x = x.clone().slice(rows.clone()).unsqueeze_dim::<4>(2).expand(shape);
        x.reshape([len, count, width]).swap_dims(0, 1)
    };
    let q = heads.q.clone().slice(rows.clone()).swap_dims(0, 1);
    let scores = q.matmul(repeated(&heads.k).transpose()) / (width as f32).sqrt();
    let scores = match sight {
        Sight::Full => scores,
        Sight::Causal => {
            let later = Tensor::<2, burn::tensor::Bool>::tril_mask([len, len], 0, &heads.q.device());
            scores.mask_fill(later.unsqueeze::<3>().expand([count, len, len]), -1e9)
        }
    };
    softmax(scores, 2).matmul(repeated(&heads.v)).swap_dims(0, 1).reshape([len, count * width])
}

#[test]
fn attention_over_segments() {
    let mut draw = Draw::new();
    let segments = [0..5, 5..6, 6..306, 306..320];
    for sight in [Sight::Causal, Sight::Full] {
        let plain =
            Heads { q: draw.plain([320, 4, 6]), k: draw.plain([320, 2, 6]), v: draw.plain([320, 2, 6]) };
        let d_out = draw.plain([320, 24]);
        let twin = Heads { q: tracked(&plain.q), k: tracked(&plain.k), v: tracked(&plain.v) };
        let out =
            Tensor::cat(segments.iter().map(|rows| twin_attention(&twin, rows.clone(), sight)).collect(), 0);
        assert_same(attention::forward(&plain, &segments, sight), out.clone().without_autodiff());
        let (dq, dk, dv) = twin_gradients!(out, d_out, twin.q, twin.k, twin.v);
        let got = attention::backward(&plain, &segments, sight, &d_out);
        assert_same(got.q, dq);
        assert_same(got.k, dk);
        assert_same(got.v, dv);
    }
}

#[test]
fn one_query_over_a_cache_is_the_last_row_of_attention() {
    let mut draw = Draw::new();
    let heads = Heads { q: draw.plain([9, 4, 6]), k: draw.plain([9, 2, 6]), v: draw.plain([9, 2, 6]) };
    let all = attention::forward(&heads, std::slice::from_ref(&(0..9)), Sight::Causal);
    let cached = |x: &Tensor<3>| {
        Tensor::cat(vec![x.clone().swap_dims(0, 1), Tensor::zeros([2, 3, 6], &Device::flex())], 1)
    };
    let got = attention::step(heads.q.clone().slice(8..9), &cached(&heads.k), &cached(&heads.v), 9);
    assert_same(got, all.slice(8..9));
}

#[test]
fn embedding_of_ids() {
    let mut draw = Draw::new();
    let (table, dy, ids) = (draw.plain([6, 4]), draw.plain([3, 4]), [5, 1, 5]);
    let twin = tracked(&table);
    let y = twin.clone().select(0, Tensor::<1, Int>::from_data([5, 1, 5], &twin.device()));
    assert_same(embedding::forward(&table, &ids), y.clone().without_autodiff());
    let d_table = {
        let dy = Tensor::from_data(dy.to_data(), &Device::flex().autodiff());
        let gradients = (y * dy).sum().backward();
        twin.grad(&gradients).unwrap()
    };
    assert_same(embedding::backward_table(&table, &ids, dy), d_table);
}

#[test]
fn head_and_cross_entropy() {
    let mut draw = Draw::new();
    let mut batch = PackedBatch::new();
    batch.push(&[1, 2, 3], &[4, 5]);
    batch.push(&[7], &[]);
    batch.push(&[6], &[0, 8, 8]);
    let (hidden, weight, weights) = (draw.plain([10, 12]), draw.plain([9, 12]), [1.0, 1.0, 0.25]);
    let (th, tw) = (tracked(&hidden), tracked(&weight));
    let logs = log_softmax(th.clone().matmul(tw.clone().transpose()), 1);
    let mean = |rows: [(usize, usize); 3], count: usize| {
        let picked = rows[..count].iter().map(|(row, id)| logs.clone().slice([*row..row + 1, *id..id + 1]));
        Tensor::cat(picked.collect(), 0).mean().neg()
    };
    let (first, last) = (mean([(2, 4), (3, 5), (0, 0)], 2), mean([(6, 0), (7, 8), (8, 8)], 3));
    let losses = [to_host(first.clone())[0], 0.0, to_host(last.clone())[0]];
    let outcome = head::train(&hidden, &weight, &batch, &weights, true);
    for got in [&outcome.losses, &head::losses(&hidden, &weight, &batch)] {
        assert!(got.iter().zip(losses).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?}, twin {losses:?}");
    }
    let gradients = (first + last * 0.25).backward();
    assert_same(outcome.d_hidden, th.grad(&gradients).unwrap());
    assert_same(outcome.d_weight.unwrap(), tw.grad(&gradients).unwrap());
}

#[test]
fn prompts_are_learnt_where_they_count() {
    let mut draw = Draw::new();
    let mut batch = PackedBatch::learning_prompts(0.5);
    batch.push(&[1, 2, 3], &[4, 5]);
    batch.push(&[7, 8], &[]);
    let (hidden, weight) = (draw.plain([7, 12]), draw.plain([9, 12]));
    let (th, tw) = (tracked(&hidden), tracked(&weight));
    let logs = log_softmax(th.clone().matmul(tw.clone().transpose()), 1);
    let loss = |row: usize, id: usize| logs.clone().slice([row..row + 1, id..id + 1]).sum().neg();
    let completion = (loss(2, 4) + loss(3, 5)) / 2.0;
    let prompts = (loss(0, 2) + loss(1, 3)) / 2.0 + loss(5, 8);
    let outcome = head::train(&hidden, &weight, &batch, &[1.0, 1.0], true);
    assert!((outcome.losses[0] - to_host(completion.clone())[0]).abs() < 1e-5 && outcome.losses[1] == 0.0);
    let gradients = (completion + prompts * 0.5).backward();
    assert_same(outcome.d_hidden, th.grad(&gradients).unwrap());
    assert_same(outcome.d_weight.unwrap(), tw.grad(&gradients).unwrap());
}
