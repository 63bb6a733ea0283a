//! The decoder: weights and the passes over packed batches.

use std::convert::Infallible;
use std::path::Path;

use burn::tensor::Device;
use jobs_spec::memory::Recompute;
use jobs_spec::model::{ModelConfig, Precision, Projection};

use crate::Rows;
use crate::adapt::{Adapters, Site};
use crate::batch::PackedBatch;
use crate::block::{Backward, Block, Depth, Forward, Saved, norm_back, packed_attention};
use crate::checkpoint::{self, Checkpoint, FileFormat, LoadError, SaveError};
use crate::device;
use crate::ops::linear::Multiply;
use crate::ops::rotary::Rotation;
use crate::ops::{embedding, head, rms_norm};
use crate::params::{self, Content, Initialiser, Maker, Parameter, Start, WeightGrads};

/// A token id that the model has no embedding for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token id {id} is outside the model's vocabulary of {vocab}")]
pub struct UnknownToken {
    /// The id.
    pub id: u32,
    /// Size of the vocabulary.
    pub vocab: usize,
}

/// What a pass keeps of a block.
enum Kept {
    Saved(Box<Saved>),
    Input(Box<Rows>),
}

/// A decoder language model, its weights plain tensors. Clones share the weights.
///
/// The passes expect batches of known tokens and without empty segments; [`Decoder::check`] says whether ids are known.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: ModelConfig,
    device: Device,
    embedding: Parameter,
    blocks: Vec<Block>,
    norm: Parameter,
    /// `None` when the head is the embedding table.
    head: Option<Parameter>,
}

impl Decoder {
    /// Loads a checkpoint folder in Hugging Face layout in the device's own precision: f32 on a CPU, bf16 on a GPU.
    ///
    /// # Errors
    /// When a file is unreadable or truncated, or a weight is missing or of another shape or format; all name file and weight.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, LoadError> {
        Self::load_as(dir, device, device::precision(device))
    }

    /// [`Self::load`] in a precision of one's own choice.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_as(dir: &Path, device: &Device, precision: Precision) -> Result<Self, LoadError> {
        let config = ModelConfig::from_dir(dir)?;
        let mut checkpoint = Checkpoint::open(dir)?;
        let values = &mut |name: &str, shape: &[usize], _| checkpoint.take(name, shape).map(Content::Values);
        Self::build(config, Maker { device, precision, values })
    }

    /// A model of weights that the device draws, to measure on: of the deviations of [`Self::init`], but other ones on every device.
    pub fn drawn(config: ModelConfig, seed: u64, device: &Device, precision: Precision) -> Self {
        device.seed(seed);
        let values = &mut |_: &str, shape: &[usize], start: Start| {
            Ok(match start.deviation(shape) {
                Some(deviation) => Content::Drawn(deviation),
                None => Content::Values(start.constant(shape.iter().product())),
            })
        };
        unfailing(Self::build(config, Maker { device, precision, values }))
    }

    /// A model with random weights that depend on the seed only: tables normal with deviation 0.02, other matrices with one over the root of
    /// their inputs, norms 1, biases 0.
    pub fn init(config: ModelConfig, seed: u64, device: &Device) -> Self {
        let mut initialiser = Initialiser::new(seed);
        let values =
            &mut |_: &str, shape: &[usize], start| Ok(Content::Values(initialiser.values(shape, start)));
        unfailing(Self::build(config, Maker { device, precision: Precision::F32, values }))
    }

    /// The same model with its weights in another precision.
    pub fn cast(mut self, precision: Precision) -> Self {
        self.parameters_mut().for_each(|weight| weight.value = params::cast(weight.value.clone(), precision));
        self
    }

    fn build<E>(config: ModelConfig, mut maker: Maker<'_, E>) -> Result<Self, E> {
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let embedding = maker.make("model.embed_tokens.weight".into(), vec![vocab, hidden], Start::Table)?;
        let blocks = (0..config.layers)
            .map(|layer| Block::build(&config, layer, &mut maker))
            .collect::<Result<_, E>>()?;
        let norm = maker.make("model.norm.weight".into(), vec![hidden], Start::Ones)?;
        let head = match config.tie_word_embeddings {
            true => None,
            false => Some(maker.make("lm_head.weight".into(), vec![vocab, hidden], Start::Linear)?),
        };
        Ok(Self { device: maker.device.clone(), config, embedding, blocks, norm, head })
    }

    /// Writes `config.json` and `model.safetensors` into a folder, as transformers reads them.
    pub fn save(&self, dir: &Path, format: FileFormat) -> Result<(), SaveError> {
        let mut config = self.config.to_json();
        config["torch_dtype"] = match format {
            FileFormat::F32 => "float32".into(),
            FileFormat::Bf16 => "bfloat16".into(),
        };
        let path = dir.join("config.json");
        std::fs::write(&path, format!("{config:#}\n"))
            .map_err(|error| SaveError { path: path.clone(), reason: error.to_string() })?;
        let tensors =
            self.parameters().map(|weight| (weight.name.clone(), weight.shape.clone(), weight.to_vec()));
        checkpoint::write(&dir.join("model.safetensors"), tensors, format)
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// All weights, always in the same order.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let blocks = self.blocks.iter().flat_map(Block::parameters);
        std::iter::once(&self.embedding).chain(blocks).chain([&self.norm]).chain(&self.head)
    }

    /// All weights for an optimiser to replace, in the order of [`Self::parameters`].
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let blocks = self.blocks.iter_mut().flat_map(Block::parameters_mut);
        std::iter::once(&mut self.embedding).chain(blocks).chain([&mut self.norm]).chain(&mut self.head)
    }

    /// Refuses ids that the model does not know.
    pub fn check(&self, ids: &[u32]) -> Result<(), UnknownToken> {
        let vocab = self.config.vocab_size;
        ids.iter().find(|id| **id as usize >= vocab).map_or(Ok(()), |id| Err(UnknownToken { id: *id, vocab }))
    }

    /// Hidden rows `[tokens, hidden]` after the final norm.
    pub fn hidden(&self, batch: &PackedBatch, adapters: &dyn Adapters) -> Rows {
        let rotation = &self.rotation(batch);
        let pass = Forward { rotation, adapters, own_gradients: false, multiply: Multiply::Together };
        let mut x = self.embed(batch.ids());
        for block in &self.blocks {
            x = block.forward(x, &pass, &mut packed_attention(batch.segments())).0;
        }
        self.final_norm(x).0
    }

    /// Logits `[rows, vocab]` of rows from [`Self::hidden`].
    pub fn logits(&self, hidden: &Rows) -> Rows {
        head::logits(hidden, &self.head_weight().value, Multiply::Together)
    }

    /// Logits of a step of generation.
    pub(crate) fn step_logits(&self, hidden: &Rows) -> Rows {
        head::logits(hidden, &self.head_weight().value, Multiply::OneByOne)
    }

    /// Mean loss over each segment's supervised tokens; 0 for a segment without any.
    pub fn losses(&self, batch: &PackedBatch, adapters: &dyn Adapters) -> Vec<f32> {
        head::losses(&self.hidden(batch, adapters), &self.head_weight().value, batch)
    }

    /// [`Self::train_pass_weighted`] with weight 1 for every segment, everything kept.
    pub fn train_pass(
        &self,
        batch: &PackedBatch,
        adapters: &mut dyn Adapters,
        grads: Option<&mut WeightGrads>,
    ) -> Vec<f32> {
        let weights = vec![1.0; batch.segments().len()];
        self.train_pass_weighted(batch, &weights, adapters, grads, Recompute::Nothing)
    }

    /// Forward and backward of `Σ weight · mean loss` over the segments; returns the (unweighted) mean losses.
    ///
    /// Adapters collect their gradients through [`Adapters::backward`], the model's own go to `grads`. Without `grads` nothing is
    /// computed below the lowest adapted site.
    pub fn train_pass_weighted(
        &self,
        batch: &PackedBatch,
        weights: &[f32],
        adapters: &mut dyn Adapters,
        grads: Option<&mut WeightGrads>,
        recompute: Recompute,
    ) -> Vec<f32> {
        let Some((lowest, depth)) = self.lowest(adapters, grads.is_some()) else {
            return self.losses(batch, adapters);
        };
        let rotation = self.rotation(batch);
        let mut x = self.embed(batch.ids());
        let mut kept = Vec::with_capacity(self.blocks.len());
        let own_gradients = grads.is_some();
        let pass = Forward { rotation: &rotation, adapters, own_gradients, multiply: Multiply::Together };
        for block in &self.blocks {
            let input = (recompute == Recompute::Layers).then(|| x.clone());
            let (y, saved) = block.forward(x, &pass, &mut packed_attention(batch.segments()));
            let saved = match input {
                Some(input) => Kept::Input(Box::new(input)),
                None if recompute == Recompute::Elementwise => Kept::Saved(Box::new(saved.lean())),
                None => Kept::Saved(Box::new(saved)),
            };
            kept.push((block.layer >= lowest).then_some(saved));
            x = y;
        }
        let (hidden, norm) = self.final_norm(x);
        let head = self.head_weight();
        let outcome = head::train(&hidden, &head.value, batch, weights, grads.is_some());
        drop(hidden);

        let mut pass = Backward { segments: batch.segments(), rotation: &rotation, adapters, grads };
        if let (Some(grads), Some(gradient)) = (&mut pass.grads, outcome.d_weight) {
            grads.add(&head.name, gradient);
        }
        let mut dy = norm_back(&norm, &self.norm, outcome.d_hidden, &mut pass);
        drop(norm);
        for (block, saved) in self.blocks.iter().zip(kept).rev() {
            let Some(saved) = saved else { break };
            let saved = match saved {
                Kept::Saved(saved) => *saved,
                Kept::Input(x) => {
                    let adapters = &*pass.adapters;
                    let again = Forward {
                        rotation: &rotation,
                        adapters,
                        own_gradients,
                        multiply: Multiply::Together,
                    };
                    block.again(*x, &again, &mut packed_attention(batch.segments()))
                }
            };
            let depth = if block.layer == lowest { depth } else { Depth::Through };
            let Some(dx) = block.backward(saved, dy, depth, &mut pass) else { return outcome.losses };
            dy = dx;
        }
        if let Some(grads) = pass.grads {
            grads
                .add(&self.embedding.name, embedding::backward_table(&self.embedding.value, batch.ids(), dy));
        }
        outcome.losses
    }

    /// The lowest layer that a backward pass must reach and how deep into it; `None` when nothing is trained.
    fn lowest(&self, adapters: &dyn Adapters, own_weights: bool) -> Option<(usize, Depth)> {
        if own_weights {
            return Some((0, Depth::Through));
        }
        let adapted = |layer: usize| {
            let here =
                Projection::ALL.into_iter().filter(move |p| adapters.adapts(Site { layer, projection: *p }));
            here.map(Depth::of).min().map(|depth| (layer, depth))
        };
        (0..self.blocks.len()).find_map(adapted)
    }

    /// Embedding rows `[ids, hidden]`, as the first block reads them.
    pub fn embed(&self, ids: &[u32]) -> Rows {
        embedding::forward(&self.embedding.value, ids)
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub(crate) fn final_norm(&self, x: Rows) -> (Rows, rms_norm::Saved) {
        rms_norm::forward(x, &self.norm.value, self.config.rms_norm_eps)
    }

    pub(crate) fn rotation_at(&self, positions: &[usize]) -> Rotation {
        Rotation::new(&self.config.rope, self.config.head_dim, positions, &self.device)
    }

    fn rotation(&self, batch: &PackedBatch) -> Rotation {
        let positions: Vec<usize> = batch.segments().iter().flat_map(|rows| 0..rows.len()).collect();
        self.rotation_at(&positions)
    }

    fn head_weight(&self) -> &Parameter {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}

fn unfailing(built: Result<Decoder, Infallible>) -> Decoder {
    match built {
        Ok(decoder) => decoder,
        Err(never) => match never {},
    }
}
