//! Generation with a key-value cache, for one prompt or several at once.
//!
//! The tokens of a prompt do not depend on which other prompts are generated beside it.

use burn::tensor::{Device, Tensor};
use jobs_spec::model::ModelConfig;
use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use rayon::prelude::*;

use crate::Rows;
use crate::adapt::Adapters;
use crate::batch::PackedBatch;
use crate::block::Forward;
use crate::decoder::{Decoder, UnknownToken};
use crate::ops::attention::{self, Heads};
use crate::ops::linear::Multiply;
use crate::ops::to_host;
use crate::pool;
use crate::sample::sample;

/// How tokens are chosen and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationOptions {
    /// Tokens after the prompt at most.
    pub max_new_tokens: usize,
    /// Divides the logits; at 0 the most likely token is taken, the first of ties.
    pub temperature: f32,
    /// Draws only from this many most likely tokens; `None` from all.
    pub top_k: Option<usize>,
    /// Draws only from the fewest most likely tokens whose probabilities reach this sum; 1 from all.
    pub top_p: f32,
    /// Ids that end the text.
    pub stop_ids: Vec<u32>,
    /// Seed of the draws; prompt `i` of several has its own stream.
    pub seed: u64,
}

impl Default for GenerationOptions {
    fn default() -> Self {
        Self { max_new_tokens: 256, temperature: 0.0, top_k: None, top_p: 1.0, stop_ids: Vec::new(), seed: 0 }
    }
}

/// A generated text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens, without the one that ended the text.
    pub ids: Vec<u32>,
    /// The stop id that ended the text; `None` when the limit did.
    pub stopped: Option<u32>,
}

/// Why a prompt was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// There is nothing to continue.
    #[error("prompt {index} is empty")]
    Empty {
        /// Which prompt, from 0.
        index: usize,
    },
    /// It holds an id that the model does not know.
    #[error("prompt {index}: {source}")]
    UnknownToken {
        /// Which prompt, from 0.
        index: usize,
        /// The id.
        source: UnknownToken,
    },
}

/// Continues one prompt. The adapters are asked for `[prompt tokens, …]` rows first and then for one row per token.
pub fn generate(
    decoder: &Decoder,
    prompt: &[u32],
    adapters: &dyn Adapters,
    options: &GenerationOptions,
) -> Result<Generated, PromptError> {
    Ok(generate_all(decoder, &[prompt], adapters, options)?.pop().unwrap_or_default())
}

/// Continues several prompts at once. The rows of finished prompts drop out, so the adapters must treat all rows alike.
pub fn generate_all(
    decoder: &Decoder,
    prompts: &[&[u32]],
    adapters: &dyn Adapters,
    options: &GenerationOptions,
) -> Result<Vec<Generated>, PromptError> {
    for (index, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() {
            return Err(PromptError::Empty { index });
        }
        decoder.check(prompt).map_err(|source| PromptError::UnknownToken { index, source })?;
    }
    let mut texts: Vec<Text> = prompts
        .iter()
        .enumerate()
        .map(|(index, prompt)| Text::new(decoder, index, prompt, options))
        .collect();
    if texts.is_empty() || options.max_new_tokens == 0 {
        return Ok(texts.into_iter().map(|text| text.generated).collect());
    }
    let mut last = prefill(decoder, prompts, adapters, &mut texts);
    loop {
        let logits = to_host(decoder.step_logits(&last));
        let mut running: Vec<&mut Text> = texts.iter_mut().filter(|text| text.running).collect();
        for (text, logits) in running.iter_mut().zip(logits.chunks(decoder.config().vocab_size)) {
            let id = sample(logits, options, &mut text.random);
            text.push(id, options);
        }
        running.retain(|text| text.running);
        if running.is_empty() {
            return Ok(texts.into_iter().map(|text| text.generated).collect());
        }
        last = step(decoder, adapters, &mut running);
    }
}

/// One prompt's state.
struct Text {
    generated: Generated,
    running: bool,
    random: ChaCha12Rng,
    /// Rows in the caches.
    seen: usize,
    /// One per layer.
    caches: Vec<Cache>,
}

impl Text {
    fn new(decoder: &Decoder, index: usize, prompt: &[u32], options: &GenerationOptions) -> Self {
        let config = decoder.config();
        let capacity = prompt.len() + options.max_new_tokens;
        let mut random = ChaCha12Rng::seed_from_u64(options.seed);
        random.set_stream(index as u64);
        Self {
            generated: Generated::default(),
            running: true,
            random,
            seen: 0,
            caches: (0..config.layers).map(|_| Cache::new(config, capacity, decoder.device())).collect(),
        }
    }

    fn push(&mut self, id: u32, options: &GenerationOptions) {
        if options.stop_ids.contains(&id) {
            self.generated.stopped = Some(id);
            self.running = false;
        } else {
            self.generated.ids.push(id);
            self.running = self.generated.ids.len() < options.max_new_tokens;
        }
    }

    fn last_id(&self) -> u32 {
        self.generated.ids.last().copied().unwrap_or_default()
    }
}

/// Keys and values of one layer, `[kv_heads, capacity, head_dim]`.
struct Cache {
    keys: Tensor<3>,
    values: Tensor<3>,
}

impl Cache {
    fn new(config: &ModelConfig, capacity: usize, device: &Device) -> Self {
        let shape = [config.kv_heads, capacity, config.head_dim];
        Self { keys: Tensor::zeros(shape, device), values: Tensor::zeros(shape, device) }
    }

    /// Writes new rows, each `[rows, kv_heads, head_dim]`, in place.
    fn write(&mut self, keys: Tensor<3>, values: Tensor<3>, at: usize) {
        let [rows, heads, width] = keys.dims();
        let range = [0..heads, at..at + rows, 0..width];
        self.keys.inplace(|cache| cache.slice_assign(range.clone(), keys.swap_dims(0, 1)));
        self.values.inplace(|cache| cache.slice_assign(range, values.swap_dims(0, 1)));
    }
}

/// Runs the prompts as one packed batch and fills the caches; returns each prompt's last hidden row.
fn prefill(decoder: &Decoder, prompts: &[&[u32]], adapters: &dyn Adapters, texts: &mut [Text]) -> Rows {
    let mut batch = PackedBatch::new();
    for prompt in prompts {
        batch.push(prompt, &[]);
    }
    let positions: Vec<usize> = prompts.iter().flat_map(|prompt| 0..prompt.len()).collect();
    let rotation = &decoder.rotation_at(&positions);
    let pass = Forward { rotation, adapters, own_gradients: false, multiply: Multiply::Together };
    let mut x = decoder.embed(batch.ids());
    for block in decoder.blocks() {
        let mut attend = |heads: &Heads| {
            for (text, rows) in texts.iter_mut().zip(batch.segments()) {
                let [keys, values] = [&heads.k, &heads.v].map(|x| x.clone().slice(rows.clone()));
                text.caches[block.layer].write(keys, values, 0);
            }
            attention::forward(heads, batch.segments(), attention::Sight::Causal)
        };
        x = block.forward(x, &pass, &mut attend).0;
    }
    for (text, prompt) in texts.iter_mut().zip(prompts) {
        text.seen = prompt.len();
    }
    decoder.final_norm(pool::last(&x, batch.segments())).0
}

/// Runs the last token of every running text; returns the hidden rows.
fn step(decoder: &Decoder, adapters: &dyn Adapters, texts: &mut [&mut Text]) -> Rows {
    let ids: Vec<u32> = texts.iter().map(|text| text.last_id()).collect();
    let positions: Vec<usize> = texts.iter().map(|text| text.seen).collect();
    let rotation = &decoder.rotation_at(&positions);
    let pass = Forward { rotation, adapters, own_gradients: false, multiply: Multiply::OneByOne };
    let mut x = decoder.embed(&ids);
    for block in decoder.blocks() {
        let mut attend = |heads: &Heads| {
            let attend_one = |(row, text): (usize, &mut &mut Text)| {
                let [q, k, v] = [&heads.q, &heads.k, &heads.v].map(|x| x.clone().slice(row..row + 1));
                let cache = &mut text.caches[block.layer];
                cache.write(k, v, text.seen);
                attention::step(q, &cache.keys, &cache.values, text.seen + 1)
            };
            Tensor::cat(texts.par_iter_mut().enumerate().map(attend_one).collect(), 0)
        };
        x = block.forward(x, &pass, &mut attend).0;
    }
    for text in texts {
        text.seen += 1;
    }
    decoder.final_norm(x).0
}
