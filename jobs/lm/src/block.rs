//! One decoder block: attention and feed-forward part with their residuals, forward and backward.

use std::ops::Range;

use burn::tensor::Tensor;
use jobs_spec::model::{Family, ModelConfig, Projection};

use crate::Rows;
use crate::adapt::{Adapters, Site};
use crate::ops::attention::{self, Heads, Sight};
use crate::ops::linear::{self, Multiply};
use crate::ops::rotary::Rotation;
use crate::ops::{rms_norm, swiglu};
use crate::params::{Maker, Parameter, Start, WeightGrads};

/// Weight and bias of a projection.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Parameter,
    pub(crate) bias: Option<Parameter>,
}

/// Norms of each head's query and key.
#[derive(Clone, Debug)]
pub(crate) struct HeadNorms {
    pub(crate) q: Parameter,
    pub(crate) k: Parameter,
}

/// The weights of a block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) layer: usize,
    pub(crate) head_dim: usize,
    pub(crate) eps: f64,
    /// In the order of [`Projection::ALL`].
    pub(crate) projections: [Linear; 7],
    pub(crate) head_norms: Option<HeadNorms>,
    pub(crate) attention_norm: Parameter,
    pub(crate) mlp_norm: Parameter,
}

/// What one block's backward pass needs. Normed rows and the SwiGLU product may be left out: they are had again from the rest, bit for bit.
pub(crate) struct Saved {
    attention_norm: rms_norm::Saved,
    /// Kept only where it is read: for adapters of q, k and v, and for the model's own gradients.
    attention_input: Option<Rows>,
    head_norms: Option<[rms_norm::Saved; 2]>,
    heads: Heads,
    attended: Rows,
    mlp_norm: rms_norm::Saved,
    mlp_input: Option<Rows>,
    gate: Rows,
    up: Rows,
    inner: Option<Rows>,
}

impl Saved {
    /// Without what is had again cheaply.
    pub(crate) fn lean(self) -> Self {
        Self { attention_input: None, mlp_input: None, inner: None, ..self }
    }
}

/// How far down a backward pass goes within a block: to the inputs of these projections and no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// Through the whole block, to its input.
    Through,
    /// Q, k and v.
    Heads,
    /// O.
    Output,
    /// Gate and up.
    Inner,
    /// Down.
    Down,
}

impl Depth {
    /// The depth at which a projection's own gradients are had.
    pub(crate) fn of(projection: Projection) -> Self {
        match projection {
            Projection::Q | Projection::K | Projection::V => Self::Heads,
            Projection::O => Self::Output,
            Projection::Gate | Projection::Up => Self::Inner,
            Projection::Down => Self::Down,
        }
    }
}

/// What the blocks of one forward pass share.
pub(crate) struct Forward<'a> {
    pub(crate) rotation: &'a Rotation,
    pub(crate) adapters: &'a dyn Adapters,
    /// Whether the backward pass will want gradients of the model's own weights.
    pub(crate) own_gradients: bool,
    pub(crate) multiply: Multiply,
}

/// What the blocks of one backward pass share.
pub(crate) struct Backward<'a> {
    pub(crate) segments: &'a [Range<usize>],
    pub(crate) rotation: &'a Rotation,
    pub(crate) adapters: &'a mut dyn Adapters,
    pub(crate) grads: Option<&'a mut WeightGrads>,
}

impl Backward<'_> {
    fn add(&mut self, parameter: &Parameter, gradient: impl FnOnce() -> Rows) {
        if let Some(grads) = &mut self.grads {
            grads.add(&parameter.name, gradient());
        }
    }
}

impl Block {
    /// Makes the weights of a layer.
    pub(crate) fn build<E>(config: &ModelConfig, layer: usize, maker: &mut Maker<'_, E>) -> Result<Self, E> {
        let name = |path: &str| format!("model.layers.{layer}.{path}");
        let mut linear = |projection: Projection| -> Result<Linear, E> {
            let (input, output) = config.dims(projection);
            let path = projection.path();
            let weight = maker.make(name(&format!("{path}.weight")), vec![output, input], Start::Linear)?;
            let bias = match config.has_bias(projection) {
                true => Some(maker.make(name(&format!("{path}.bias")), vec![output], Start::Zeros)?),
                false => None,
            };
            Ok(Linear { weight, bias })
        };
        let [q, k, v, o, gate, up, down] = Projection::ALL.map(&mut linear);
        let projections = [q?, k?, v?, o?, gate?, up?, down?];
        let mut norm = |path: &str, width| maker.make(name(path), vec![width], Start::Ones);
        let head_norms = match config.family {
            Family::Qwen3 => Some(HeadNorms {
                q: norm("self_attn.q_norm.weight", config.head_dim)?,
                k: norm("self_attn.k_norm.weight", config.head_dim)?,
            }),
            Family::Qwen2 | Family::Llama => None,
        };
        Ok(Self {
            layer,
            head_dim: config.head_dim,
            eps: config.rms_norm_eps,
            projections,
            head_norms,
            attention_norm: norm("input_layernorm.weight", config.hidden_size)?,
            mlp_norm: norm("post_attention_layernorm.weight", config.hidden_size)?,
        })
    }

    fn linear(&self, projection: Projection) -> &Linear {
        &self.projections[projection as usize]
    }

    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let linears =
            self.projections.iter().flat_map(|linear| std::iter::once(&linear.weight).chain(&linear.bias));
        let norms = self.head_norms.iter().flat_map(|norms| [&norms.q, &norms.k]);
        linears.chain(norms).chain([&self.attention_norm, &self.mlp_norm])
    }

    pub(crate) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let linears = self
            .projections
            .iter_mut()
            .flat_map(|linear| std::iter::once(&mut linear.weight).chain(&mut linear.bias));
        let norms = self.head_norms.iter_mut().flat_map(|norms| [&mut norms.q, &mut norms.k]);
        linears.chain(norms).chain([&mut self.attention_norm, &mut self.mlp_norm])
    }

    fn project(&self, projection: Projection, x: &Rows, pass: &Forward<'_>) -> Rows {
        let linear = self.linear(projection);
        let bias = linear.bias.as_ref().map(|bias| &bias.value);
        let base = linear::forward(x, &linear.weight.value, bias, pass.multiply);
        let site = Site { layer: self.layer, projection };
        if pass.adapters.adapts(site) { pass.adapters.forward(site, x, base) } else { base }
    }

    /// The block's output, and what its backward pass needs. Attention is left to `attend`: it gets rotated heads and returns
    /// `[rows, heads · head_dim]`.
    pub(crate) fn forward(
        &self,
        x: Rows,
        pass: &Forward<'_>,
        attend: &mut dyn FnMut(&Heads) -> Rows,
    ) -> (Rows, Saved) {
        let (inner, saved) = self.to_inner(x, pass, attend);
        (saved.mlp_norm.x.clone() + self.project(Projection::Down, &inner, pass), saved)
    }

    /// What the backward pass needs and nothing else: the last projection is left out.
    pub(crate) fn again(&self, x: Rows, pass: &Forward<'_>, attend: &mut dyn FnMut(&Heads) -> Rows) -> Saved {
        self.to_inner(x, pass, attend).1
    }

    /// The SwiGLU product, and what the backward pass needs.
    fn to_inner(&self, x: Rows, pass: &Forward<'_>, attend: &mut dyn FnMut(&Heads) -> Rows) -> (Rows, Saved) {
        let (attention_input, attention_norm) =
            rms_norm::forward(x.clone(), &self.attention_norm.value, self.eps);
        let [q, k, v] =
            [Projection::Q, Projection::K, Projection::V].map(|p| self.project(p, &attention_input, pass));
        let (q, k, head_norms) = match &self.head_norms {
            None => (q, k, None),
            Some(norms) => {
                let (q, saved_q) = self.norm_heads(q, &norms.q);
                let (k, saved_k) = self.norm_heads(k, &norms.k);
                (q, k, Some([saved_q, saved_k]))
            }
        };
        let heads = Heads {
            q: pass.rotation.forward(self.split(q)),
            k: pass.rotation.forward(self.split(k)),
            v: self.split(v),
        };
        let attended = attend(&heads);
        let x = x + self.project(Projection::O, &attended, pass);
        let (mlp_input, mlp_norm) = rms_norm::forward(x, &self.mlp_norm.value, self.eps);
        let gate = self.project(Projection::Gate, &mlp_input, pass);
        let up = self.project(Projection::Up, &mlp_input, pass);
        let inner = swiglu::forward(&gate, &up);
        let saved = Saved {
            attention_norm,
            attention_input: self.reads_heads(pass.adapters, pass.own_gradients).then_some(attention_input),
            head_norms,
            heads,
            attended,
            mlp_norm,
            mlp_input: Some(mlp_input),
            gate,
            up,
            inner: Some(inner.clone()),
        };
        (inner, saved)
    }

    /// `[rows, heads · head_dim]` as `[rows, heads, head_dim]`.
    fn split(&self, x: Rows) -> Tensor<3> {
        let [rows, width] = x.dims();
        x.reshape([rows, width / self.head_dim, self.head_dim])
    }

    fn norm_heads(&self, x: Rows, weight: &Parameter) -> (Rows, rms_norm::Saved) {
        let [rows, width] = x.dims();
        let x = x.reshape([rows * width / self.head_dim, self.head_dim]);
        let (y, saved) = rms_norm::forward(x, &weight.value, self.eps);
        (y.reshape([rows, width]), saved)
    }

    /// The gradient of the block's input, or `None` where `depth` ends the pass inside the block.
    pub(crate) fn backward(
        &self,
        mut saved: Saved,
        dy: Rows,
        depth: Depth,
        pass: &mut Backward<'_>,
    ) -> Option<Rows> {
        let inner = saved.inner.take().unwrap_or_else(|| swiglu::forward(&saved.gate, &saved.up));
        let d_inner = self.project_back(Projection::Down, Some(&inner), &dy, depth, pass);
        if depth == Depth::Down {
            return None;
        }
        drop(inner);
        let (d_gate, d_up) = swiglu::backward(saved.gate, saved.up, &d_inner);
        drop(d_inner);
        let input = saved.mlp_input.take();
        let input = input.unwrap_or_else(|| rms_norm::normed(&saved.mlp_norm, &self.mlp_norm.value));
        let d_input = self.project_back(Projection::Gate, Some(&input), &d_gate, depth, pass)
            + self.project_back(Projection::Up, Some(&input), &d_up, depth, pass);
        drop((input, d_gate, d_up));
        if depth == Depth::Inner {
            return None;
        }
        let dx = dy + norm_back(&saved.mlp_norm, &self.mlp_norm, d_input, pass);
        drop(saved.mlp_norm);
        let d_attended = self.project_back(Projection::O, Some(&saved.attended), &dx, depth, pass);
        drop(saved.attended);
        if depth == Depth::Output {
            return None;
        }
        let grads = attention::backward(&saved.heads, pass.segments, Sight::Causal, &d_attended);
        drop((saved.heads, d_attended));
        let normed = || rms_norm::normed(&saved.attention_norm, &self.attention_norm.value);
        let read = self.reads_heads(pass.adapters, pass.grads.is_some());
        let input = read.then(|| saved.attention_input.take().unwrap_or_else(normed));
        let d_input = self.heads_back(input.as_ref(), grads, saved.head_norms.as_ref(), depth, pass);
        drop(input);
        if depth == Depth::Heads {
            return None;
        }
        Some(dx + norm_back(&saved.attention_norm, &self.attention_norm, d_input, pass))
    }

    /// Whether a backward pass reads the input of q, k and v.
    fn reads_heads(&self, adapters: &dyn Adapters, own_gradients: bool) -> bool {
        let adapted = |projection| adapters.adapts(Site { layer: self.layer, projection });
        own_gradients || [Projection::Q, Projection::K, Projection::V].into_iter().any(adapted)
    }

    /// The gradient of q, k and v's common input `x`, given those of the rotated heads.
    fn heads_back(
        &self,
        x: Option<&Rows>,
        grads: Heads,
        head_norms: Option<&[rms_norm::Saved; 2]>,
        depth: Depth,
        pass: &mut Backward<'_>,
    ) -> Rows {
        let join = |x: Tensor<3>| {
            let [rows, heads, width] = x.dims();
            x.reshape([rows, heads * width])
        };
        let (mut dq, mut dk) = (join(pass.rotation.backward(grads.q)), join(pass.rotation.backward(grads.k)));
        if let (Some(norms), Some([saved_q, saved_k])) = (&self.head_norms, head_norms) {
            dq = self.norm_heads_back(saved_q, &norms.q, dq, pass);
            dk = self.norm_heads_back(saved_k, &norms.k, dk, pass);
        }
        self.project_back(Projection::Q, x, &dq, depth, pass)
            + self.project_back(Projection::K, x, &dk, depth, pass)
            + self.project_back(Projection::V, x, &join(grads.v), depth, pass)
    }

    fn norm_heads_back(
        &self,
        saved: &rms_norm::Saved,
        weight: &Parameter,
        dy: Rows,
        pass: &mut Backward<'_>,
    ) -> Rows {
        let shape = dy.dims();
        let dy = dy.reshape(saved.x.dims());
        norm_back(saved, weight, dy, pass).reshape(shape)
    }

    /// The gradient of a projection's input `x`, which is there where it is read. Where the pass ends here nobody reads the gradient, and the
    /// base product is left out.
    fn project_back(
        &self,
        projection: Projection,
        x: Option<&Rows>,
        dy: &Rows,
        depth: Depth,
        pass: &mut Backward<'_>,
    ) -> Rows {
        let linear = self.linear(projection);
        if let Some(x) = x {
            pass.add(&linear.weight, || linear::backward_weight(x, dy));
        }
        if let Some(bias) = &linear.bias {
            pass.add(bias, || linear::backward_bias(dy));
        }
        let dx = match x {
            Some(x) if Depth::of(projection) == depth => x.zeros_like(),
            _ => linear::backward_input(dy, &linear.weight.value),
        };
        let site = Site { layer: self.layer, projection };
        match x {
            Some(x) if pass.adapters.adapts(site) => pass.adapters.backward(site, x, dy, dx),
            _ => dx,
        }
    }
}

/// The gradient of a norm's input.
pub(crate) fn norm_back(
    saved: &rms_norm::Saved,
    weight: &Parameter,
    dy: Rows,
    pass: &mut Backward<'_>,
) -> Rows {
    pass.add(weight, || rms_norm::backward_weight(saved, &dy));
    rms_norm::backward(saved, &weight.value, dy)
}

/// Attention within the segments of a packed batch.
pub(crate) fn packed_attention(segments: &[Range<usize>]) -> impl FnMut(&Heads) -> Rows {
    |heads| attention::forward(heads, segments, Sight::Causal)
}
