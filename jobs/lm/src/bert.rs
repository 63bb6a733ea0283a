//! A BERT encoder for embeddings of texts, forward only.

use std::ops::Range;
use std::path::Path;

use burn::tensor::activation::gelu;
use burn::tensor::{Device, Tensor};
use jobs_spec::model::{ConfigError, FieldError, Precision, optional, problem, read_object, required};

use crate::Rows;
use crate::checkpoint::{Checkpoint, LoadError};
use crate::ops::attention::{self, Heads, Sight};
use crate::ops::linear::{self, Multiply};
use crate::ops::{embedding, layer_norm};
use crate::params::{Content, Maker, Parameter, Start};
use crate::pool;

/// Shape of a BERT encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Rows of the word embedding table.
    pub vocab_size: usize,
    /// Width of hidden rows and embeddings.
    pub hidden_size: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub heads: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Longest sequence in tokens.
    pub max_positions: usize,
    /// Rows of the token type table.
    pub token_types: usize,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f64,
}

impl EncoderConfig {
    /// Reads `config.json` in a model folder.
    pub fn from_dir(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join("config.json");
        let object = read_object(&path)?;
        let field = |source: FieldError| ConfigError::Field { path: path.clone(), source };
        let number = |name| required::<usize>(&object, name).map_err(field);
        let text = |name| optional::<String>(&object, name).map_err(field);
        for (name, only) in
            [("model_type", "bert"), ("hidden_act", "gelu"), ("position_embedding_type", "absolute")]
        {
            if let Some(other) = text(name)?.filter(|value| value != only) {
                return Err(field(problem(name, format!("`{other}` is not supported, only `{only}`"))));
            }
        }
        let config = Self {
            vocab_size: number("vocab_size")?,
            hidden_size: number("hidden_size")?,
            layers: number("num_hidden_layers")?,
            heads: number("num_attention_heads")?,
            intermediate_size: number("intermediate_size")?,
            max_positions: number("max_position_embeddings")?,
            token_types: number("type_vocab_size")?,
            layer_norm_eps: required(&object, "layer_norm_eps").map_err(field)?,
        };
        if config.heads == 0 || !config.hidden_size.is_multiple_of(config.heads) {
            let text = format!("{} does not divide hidden_size {}", config.heads, config.hidden_size);
            return Err(field(problem("num_attention_heads", text)));
        }
        Ok(config)
    }
}

/// How the hidden rows of a text become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The first row, as BGE does.
    Cls,
    /// The mean of all rows, as MiniLM does.
    Mean,
}

/// Why a text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A text has no tokens or more than the model has positions for.
    #[error("text {index} has {tokens} tokens, expected 1 to {most}")]
    Length {
        /// Which text, from 0.
        index: usize,
        /// Its tokens.
        tokens: usize,
        /// Positions of the model.
        most: usize,
    },
    /// A text holds an id that the model does not know.
    #[error("text {index}: token id {id} is outside the model's vocabulary of {vocab}")]
    UnknownToken {
        /// Which text, from 0.
        index: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
}

#[derive(Clone, Debug)]
struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    fn forward(&self, x: &Rows) -> Rows {
        linear::forward(x, &self.weight.value, Some(&self.bias.value), Multiply::Together)
    }

    fn norm(&self, x: Rows, eps: f64) -> Rows {
        layer_norm::forward(x, &self.weight.value, &self.bias.value, eps)
    }
}

#[derive(Clone, Debug)]
struct Block {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Linear,
    intermediate: Linear,
    output: Linear,
    output_norm: Linear,
}

/// A BERT encoder with frozen weights.
#[derive(Clone, Debug)]
pub struct Encoder {
    config: EncoderConfig,
    words: Parameter,
    positions: Parameter,
    types: Parameter,
    norm: Linear,
    blocks: Vec<Block>,
}

impl Encoder {
    /// Loads a checkpoint folder in Hugging Face layout, with or without the prefix `bert.` in its names.
    ///
    /// # Errors
    /// As of [`crate::decoder::Decoder::load`].
    pub fn load(dir: &Path, device: &Device) -> Result<Self, LoadError> {
        let config = EncoderConfig::from_dir(dir)?;
        let mut checkpoint = Checkpoint::open(dir)?;
        checkpoint.strip_prefix("bert.");
        let values = &mut |name: &str, shape: &[usize], _| checkpoint.take(name, shape).map(Content::Values);
        Self::build(config, Maker { device, precision: Precision::F32, values })
    }

    fn build<E>(config: EncoderConfig, mut maker: Maker<'_, E>) -> Result<Self, E> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let mut table = |name: &str, rows| {
            maker.make(format!("embeddings.{name}.weight"), vec![rows, hidden], Start::Table)
        };
        let words = table("word_embeddings", config.vocab_size)?;
        let positions = table("position_embeddings", config.max_positions)?;
        let types = table("token_type_embeddings", config.token_types)?;
        let mut part = |path: String, shape: Vec<usize>| -> Result<Linear, E> {
            let width = shape[0];
            let weight = maker.make(format!("{path}.weight"), shape, Start::Linear)?;
            Ok(Linear { weight, bias: maker.make(format!("{path}.bias"), vec![width], Start::Zeros)? })
        };
        let norm = part("embeddings.LayerNorm".into(), vec![hidden])?;
        let mut block = |layer: usize| -> Result<Block, E> {
            let mut at =
                |path: &str, shape: &[usize]| part(format!("encoder.layer.{layer}.{path}"), shape.to_vec());
            Ok(Block {
                query: at("attention.self.query", &[hidden, hidden])?,
                key: at("attention.self.key", &[hidden, hidden])?,
                value: at("attention.self.value", &[hidden, hidden])?,
                attention_output: at("attention.output.dense", &[hidden, hidden])?,
                attention_norm: at("attention.output.LayerNorm", &[hidden])?,
                intermediate: at("intermediate.dense", &[inner, hidden])?,
                output: at("output.dense", &[hidden, inner])?,
                output_norm: at("output.LayerNorm", &[hidden])?,
            })
        };
        let blocks = (0..config.layers).map(&mut block).collect::<Result<_, E>>()?;
        Ok(Self { config, words, positions, types, norm, blocks })
    }

    /// The encoder's shape.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// One embedding per text, `[texts, hidden]`; with `normalise` each of Euclidean length 1.
    pub fn embed(&self, texts: &[&[u32]], pooling: Pooling, normalise: bool) -> Result<Rows, EncodeError> {
        let (rows, segments) = self.hidden(texts)?;
        let pooled = match pooling {
            Pooling::Cls => pool::first(&rows, &segments),
            Pooling::Mean => pool::mean(&rows, &segments),
        };
        Ok(if normalise { pool::unit(pooled) } else { pooled })
    }

    /// The last hidden rows of all texts, one text behind the other, and the rows of each. Texts carry no padding.
    pub fn hidden(&self, texts: &[&[u32]]) -> Result<(Rows, Vec<Range<usize>>), EncodeError> {
        self.check(texts)?;
        let device = self.words.value.device();
        let ids: Vec<u32> = texts.concat();
        let positions: Vec<u32> = texts.iter().flat_map(|text| 0..text.len() as u32).collect();
        let mut end = 0;
        let segments: Vec<Range<usize>> = texts
            .iter()
            .map(|text| {
                end += text.len();
                end - text.len()..end
            })
            .collect();
        if texts.is_empty() {
            return Ok((Tensor::zeros([0, self.config.hidden_size], &device), segments));
        }
        let kind = self.types.value.clone().slice(0..1);
        let x = embedding::forward(&self.words.value, &ids)
            + embedding::forward(&self.positions.value, &positions)
            + kind;
        let mut x = self.norm.norm(x, self.config.layer_norm_eps);
        for block in &self.blocks {
            x = self.block(block, x, &segments);
        }
        Ok((x, segments))
    }

    fn block(&self, block: &Block, x: Rows, segments: &[Range<usize>]) -> Rows {
        let eps = self.config.layer_norm_eps;
        let split = |x: Rows| {
            let [rows, width] = x.dims();
            x.reshape([rows, self.config.heads, width / self.config.heads])
        };
        let [q, k, v] = [&block.query, &block.key, &block.value].map(|linear| split(linear.forward(&x)));
        let attended = attention::forward(&Heads { q, k, v }, segments, Sight::Full);
        let x = block.attention_norm.norm(x + block.attention_output.forward(&attended), eps);
        let inner = gelu(block.intermediate.forward(&x));
        block.output_norm.norm(x + block.output.forward(&inner), eps)
    }

    fn check(&self, texts: &[&[u32]]) -> Result<(), EncodeError> {
        let (most, vocab) = (self.config.max_positions, self.config.vocab_size);
        for (index, text) in texts.iter().enumerate() {
            if text.is_empty() || text.len() > most {
                return Err(EncodeError::Length { index, tokens: text.len(), most });
            }
            if let Some(id) = text.iter().find(|id| **id as usize >= vocab) {
                return Err(EncodeError::UnknownToken { index, id: *id, vocab });
            }
        }
        Ok(())
    }
}
