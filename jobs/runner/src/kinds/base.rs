//! `base`: trains a small decoder, with its tokenizer, on a corpus of synthesised calls.

use std::path::Path;

use jobs_data::corpus::{Corpus, CorpusExample, everyday_words};
use jobs_lm::checkpoint::FileFormat;
use jobs_lm::decoder::Decoder;
use jobs_paratool::samples::SampleBuilder;
use jobs_paratool::{Checkpointing, Failure, Progress};
use jobs_spec::job::BaseSpec;
use jobs_spec::manifest::BaseTraining;
use jobs_text::prompt::{self, Request};
use jobs_text::{Chat, bpe};
use jobs_train::checkpoint::TrainState;
use jobs_train::full::{FullConfig, FullError, FullTrainer};
use jobs_train::sample::Sample;
use jobs_train::schedule::{Decay, Schedule};
use jobs_train::seed;
use serde::Serialize;
use serde_json::Value;

use crate::error::JobError;
use crate::lane::Context;

/// Examples that the tokenizer is trained on, spread over the corpus, which changes on its way.
const TOKENIZER_EXAMPLES: usize = 4_000;
/// How often the tokenizer also reads each everyday word. As one token a word is copied in one step; the names of the corpus' tools, which
/// are read more often, would otherwise fill the vocabulary.
const WORD_REPEATS: usize = 100;
/// Steps over which the reported last loss is averaged.
const LAST_STEPS: usize = 50;

#[derive(Debug, Serialize)]
struct Metrics {
    parameters: usize,
    examples: usize,
    dropped: usize,
    steps: u64,
    tokens: u64,
    last_loss: f64,
}

pub(super) fn run(spec: &BaseSpec, context: &mut Context<'_>) -> Result<Value, JobError> {
    let output = context.output()?;
    let training = &spec.training;
    let corpus = Corpus::new(training, spec.seed);
    tokenizer(spec, &corpus, &output)?;
    // The decoder's settings name the end of turn, which the chat reads from them.
    let config = training.model(spec.prompt.max_tokens);
    let decoder = Decoder::init(config, seed::derive(&spec.seed.to_string(), "weights"), context.device());
    decoder.save(&output, FileFormat::Bf16).map_err(JobError::storage)?;
    let chat = Chat::load(&output).map_err(JobError::data)?;
    let (samples, dropped) = samples(spec, &corpus, &chat)?;

    let parameters = decoder.config().parameter_count();
    let mut trainer = trainer(spec, decoder, samples)?;
    if let Some(folder) = &context.start().resume {
        trainer.resume(TrainState::load(folder).map_err(JobError::data)?).map_err(JobError::data)?;
    }
    let mut tokens = 0;
    while let Some(step) = trainer.step().map_err(refused)? {
        tokens += step.tokens as u64;
        context.step(step.step, step.total, tokens, Some(f64::from(step.loss)));
        context.pause(step.step, |folder| {
            trainer.snapshot().save(folder).map_err(|error| Failure::Storage(error.to_string()))
        })?;
    }
    let last = trainer.losses().iter().rev().take(LAST_STEPS).map(|loss| f64::from(*loss));
    let last_loss = last.clone().sum::<f64>() / last.count().max(1) as f64;
    let (steps, examples) = (trainer.total(), training.examples);
    trainer.into_decoder().save(&output, FileFormat::Bf16).map_err(JobError::storage)?;
    super::metrics(&Metrics { parameters, examples, dropped, steps, tokens, last_loss })
}

/// A Qwen2 decoder with the tokenizer's ids: 0 pads, 2 ends a turn.
fn tokenizer(spec: &BaseSpec, corpus: &Corpus, folder: &Path) -> Result<(), JobError> {
    let words = everyday_words().iter().map(|word| (*word).to_owned());
    let mut texts: Vec<String> = words.flat_map(|word| std::iter::repeat_n(word, WORD_REPEATS)).collect();
    let examples = spec.training.examples;
    for index in (0..examples).step_by(examples.div_ceil(TOKENIZER_EXAMPLES).max(1)) {
        let CorpusExample { tools, with_documents, trace } = corpus.example(index);
        let schemas: Vec<_> = tools.iter().map(|tool| &tool.schema).collect();
        let request = Request {
            tools: &schemas,
            question: &trace.question,
            documents: with_documents,
            multi_step: trace.category.is_multi_step(),
        };
        let messages = prompt::messages(&spec.prompt, &request);
        texts.extend(messages.into_iter().map(|message| message.content));
        texts.push(trace.answer);
    }
    bpe::train(texts.iter().map(String::as_str), spec.training.vocabulary, folder).map_err(JobError::spec)
}

fn samples(spec: &BaseSpec, corpus: &Corpus, chat: &Chat) -> Result<(Vec<Sample>, usize), JobError> {
    let (mut samples, mut dropped) = (Vec::with_capacity(spec.training.examples), 0);
    for index in 0..spec.training.examples {
        let CorpusExample { tools, with_documents, trace } = corpus.example(index);
        match SampleBuilder::new(chat, &spec.prompt, &tools).sample(&trace, with_documents)? {
            Some(sample) => samples.push(sample),
            None => dropped += 1,
        }
    }
    Ok((samples, dropped))
}

fn trainer(spec: &BaseSpec, decoder: Decoder, samples: Vec<Sample>) -> Result<FullTrainer, JobError> {
    let BaseTraining { batch, lr, beta2, warmup, weight_decay, clip, prompt_weight, .. } = spec.training;
    let optimizer =
        jobs_lora::AdamW { lr, beta2, weight_decay, clip: Some(clip), ..jobs_lora::AdamW::default() };
    let schedule = Schedule { warmup: warmup as u64, decay: Decay::Linear };
    let prompt_weight = prompt_weight as f32;
    let config = FullConfig { optimizer, schedule, batch, epochs: 1, prompt_weight, seed: None };
    FullTrainer::new(decoder, samples, config).map_err(refused)
}

fn refused(error: FullError) -> JobError {
    match error {
        FullError::NonFinite(..) => JobError::new(proto::error::ErrorCode::NonFinite, error),
        FullError::Empty | FullError::Resume(_) | FullError::Token(_) => JobError::data(error),
    }
}
