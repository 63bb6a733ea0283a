//! Frozen encodings of questions and tool documents, computed once and shared by all gates of a sweep.
//!
//! A context is a question as raw text, the history of earlier calls inside, without template or instruction; a document is the tool's
//! canonical schema. Both go through the base model without adapters, the last hidden rows after the final norm pooled over all tokens
//! (mean, the last one, or the means of question and history apart), or through a BERT encoder (mean over at most 512 tokens, nothing
//! normalised). Or the base's token embeddings are pooled, each of them scaled to a root mean square of 1, without any pass: a bag of words,
//! which tells more than the last rows of a model too small to sum up a text. Equal texts are encoded once.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Tensor;
use jobs_data::history;
use jobs_data::set::TrainingSet;
use jobs_data::tool::Tool;
use jobs_lm::adapt::NoAdapters;
use jobs_lm::batch::PackedBatch;
use jobs_lm::bert::{self, Encoder};
use jobs_lm::decoder::Decoder;
use jobs_lm::{Rows, pool};
use jobs_spec::key::{canonical, digest_of};
use jobs_spec::manifest::{Layer, Pooling};
use jobs_text::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::{Failure, Progress, tensors};

const FILE: &str = "embeddings.safetensors";
const TENSOR: &str = "vectors";
/// Token budget of one pass; a longer text has a pass of its own.
const TOKENS_PER_PASS: usize = 4_096;
/// Tokens of a text that a BERT encoder reads at most.
const BERT_TOKENS: usize = 512;

/// A text as tokens.
#[derive(Debug)]
struct Ids {
    all: Vec<u32>,
    /// Where the history begins, if it is pooled apart.
    history: usize,
}

/// A frozen model that turns texts into vectors.
#[derive(Debug)]
pub struct TextEncoder {
    tokenizer: Tokenizer,
    model: Model,
}

#[derive(Debug)]
enum Model {
    Base(Arc<Decoder>, Layer, Pooling),
    Bert(Box<Encoder>),
}

impl TextEncoder {
    /// The base model without adapters.
    pub fn base(decoder: Arc<Decoder>, tokenizer: Tokenizer, layer: Layer, pooling: Pooling) -> Self {
        Self { tokenizer, model: Model::Base(decoder, layer, pooling) }
    }

    /// A BERT encoder; it pools by the mean.
    pub fn bert(encoder: Encoder, tokenizer: Tokenizer) -> Self {
        Self { tokenizer, model: Model::Bert(Box::new(encoder)) }
    }

    /// Length of a vector.
    pub fn dimension(&self) -> usize {
        match &self.model {
            Model::Base(decoder, _, Pooling::Parts) => 2 * decoder.config().hidden_size,
            Model::Base(decoder, _, Pooling::Mean | Pooling::Last) => decoder.config().hidden_size,
            Model::Bert(encoder) => encoder.config().hidden_size,
        }
    }

    /// The vector of a text.
    ///
    /// # Errors
    /// When the text has no tokens or one that the model does not know.
    pub fn encode(&self, text: &str) -> Result<Vec<f32>, Failure> {
        self.pass(&[self.ids(text)?])
    }

    /// Ids of a text with the tokenizer's own frame, as long as the model takes.
    fn ids(&self, text: &str) -> Result<Ids, Failure> {
        let (question, history) = match &self.model {
            Model::Base(_, _, Pooling::Parts) => history::split(text),
            Model::Base(_, _, Pooling::Mean | Pooling::Last) | Model::Bert(_) => (text, ""),
        };
        let mut all = self.tokenizer.encode_framed(question)?;
        if all.is_empty() {
            return Err(Failure::Data("a text to encode has no tokens".to_owned()));
        }
        let start = all.len();
        all.extend(self.tokenizer.encode(history)?);
        match &self.model {
            Model::Base(decoder, ..) => decoder.check(&all).map_err(Failure::data)?,
            Model::Bert(encoder) => {
                let most = BERT_TOKENS.min(encoder.config().max_positions);
                if all.len() > most {
                    // What is cut is the end of the text, not the closing token of the frame.
                    all.drain(most - 1..all.len() - 1);
                }
            }
        }
        Ok(Ids { all, history: start })
    }

    /// The vectors of some texts, one behind the other.
    fn pass(&self, texts: &[Ids]) -> Result<Vec<f32>, Failure> {
        let pooled = match &self.model {
            Model::Base(decoder, layer, pooling) => {
                let mut batch = PackedBatch::new();
                texts.iter().for_each(|ids| batch.push(&ids.all, &[]));
                let rows = match layer {
                    Layer::Last => decoder.hidden(&batch, &NoAdapters),
                    Layer::First => {
                        let rows = decoder.embed(batch.ids());
                        let scale = (rows.dims()[1] as f32).sqrt();
                        pool::unit(rows).mul_scalar(scale)
                    }
                };
                match pooling {
                    Pooling::Mean => pool::mean(&rows, batch.segments()),
                    Pooling::Last => pool::last(&rows, batch.segments()),
                    Pooling::Parts => {
                        let cut = texts.iter().zip(batch.segments());
                        let cut = cut.map(|(ids, segment)| (segment, segment.start + ids.history));
                        let (questions, histories): (Vec<_>, Vec<_>) =
                            cut.map(|(segment, at)| (segment.start..at, at..segment.end)).unzip();
                        Tensor::cat(vec![pool::mean(&rows, &questions), pool::mean(&rows, &histories)], 1)
                    }
                }
            }
            Model::Bert(encoder) => {
                let texts = texts.iter().map(|ids| ids.all.as_slice()).collect::<Vec<_>>();
                encoder.embed(&texts, bert::Pooling::Mean, false).map_err(Failure::data)?
            }
        };
        let vectors = host(pooled)?;
        if vectors.iter().any(|x| !x.is_finite()) {
            return Err(Failure::NonFinite("an encoding is not finite".to_owned()));
        }
        Ok(vectors)
    }
}

/// Copies a matrix to the host, row by row.
pub(crate) fn host(rows: Rows) -> Result<Vec<f32>, Failure> {
    rows.try_into_vec_as::<f32>().map_err(|cause| Failure::Data(format!("device: {cause:?}")))
}

/// The document of a tool as it is encoded.
pub fn document(tool: &Tool) -> String {
    canonical(&tool.schema)
}

/// Vectors of texts, found by the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    dimension: usize,
    rows: HashMap<String, usize>,
    vectors: Vec<f32>,
}

/// What the artifact says beside its vectors: the SHA-256 of each row's text.
#[derive(Serialize, Deserialize)]
struct Header {
    dimension: usize,
    texts: Vec<String>,
}

impl Embeddings {
    /// Encodes every question, those of the steps before it, and every tool document of a training set.
    ///
    /// # Errors
    /// When a text cannot be encoded, or the run is stopped.
    pub fn of(
        set: &TrainingSet,
        encoder: &TextEncoder,
        progress: &mut dyn Progress,
    ) -> Result<Self, Failure> {
        let documents = set.tools.iter().map(document);
        let questions = set.traces.iter().flat_map(|trace| {
            let earlier = history::earlier(&trace.question).into_iter().map(|(question, _)| question);
            earlier.chain([trace.question.clone()])
        });
        let texts: BTreeSet<String> = documents.chain(questions).collect();
        let mut encodings =
            Self { dimension: encoder.dimension(), rows: HashMap::new(), vectors: Vec::new() };
        let (mut pending, mut waiting, mut tokens) = (Vec::<Ids>::new(), 0, 0);
        let total = texts.len() as u64;
        for (row, text) in texts.iter().enumerate() {
            let ids = encoder.ids(text)?;
            if waiting + ids.all.len() > TOKENS_PER_PASS && !pending.is_empty() {
                encodings.vectors.extend(encoder.pass(&pending)?);
                tokens += waiting as u64;
                waiting = 0;
                pending.clear();
                progress.step(row as u64, total, tokens, None);
                if progress.should_stop() {
                    return Err(Failure::Stopped);
                }
            }
            waiting += ids.all.len();
            pending.push(ids);
            encodings.rows.insert(name(text), row);
        }
        if !pending.is_empty() {
            encodings.vectors.extend(encoder.pass(&pending)?);
        }
        progress.step(total, total, tokens + waiting as u64, None);
        Ok(encodings)
    }

    /// Vectors of texts that are known already, all of one length.
    #[cfg(test)]
    pub(crate) fn from_vectors(
        dimension: usize,
        vectors: impl IntoIterator<Item = (String, Vec<f32>)>,
    ) -> Self {
        let mut known = Self { dimension, rows: HashMap::new(), vectors: Vec::new() };
        for (row, (text, vector)) in vectors.into_iter().enumerate() {
            known.rows.insert(name(&text), row);
            known.vectors.extend(vector);
        }
        known
    }

    /// Length of a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The vector of a text.
    ///
    /// # Errors
    /// When the text was not encoded.
    pub fn vector(&self, text: &str) -> Result<&[f32], Failure> {
        let row =
            self.rows.get(&name(text)).and_then(|row| self.vectors.chunks(self.dimension.max(1)).nth(*row));
        row.ok_or_else(|| {
            let start: String = text.chars().take(40).collect();
            Failure::Data(format!("the embeddings hold no vector of `{}…`", start.replace('\n', " ")))
        })
    }

    /// Writes `embeddings.safetensors` into a folder. Equal encodings give equal bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        let mut texts = vec![String::new(); self.rows.len()];
        for (text, row) in &self.rows {
            text.clone_into(&mut texts[*row]);
        }
        let shape = vec![texts.len(), self.dimension];
        let header = Header { dimension: self.dimension, texts };
        tensors::write(&folder.join(FILE), &header, &[(TENSOR.to_owned(), shape, (&self.vectors).into())])
    }

    /// Reads what [`Embeddings::write`] wrote.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let file = folder.join(FILE);
        let mut contents = tensors::read::<Header>(&file)?;
        let (dimension, texts) = (contents.header.dimension, std::mem::take(&mut contents.header.texts));
        let vectors = contents.take(&file, TENSOR, &[texts.len(), dimension])?;
        let rows = texts.into_iter().enumerate().map(|(row, text)| (text, row)).collect();
        Ok(Self { dimension, rows, vectors })
    }
}

fn name(text: &str) -> String {
    digest_of(text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests;
