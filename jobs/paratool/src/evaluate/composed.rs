//! The model of one entry: the base with the candidates' adapters under the policy's weights.

use std::collections::HashMap;
use std::sync::Arc;

use jobs_data::marks;
use jobs_data::set::Entry;
use jobs_data::tool::Tool;
use jobs_lm::adapt::{Adapters, NoAdapters};
use jobs_lm::generate::{GenerationOptions, generate};
use jobs_lora::{AdapterShape, Bank, RoutedBank, Routing, SlotId};
use jobs_text::{Chat, Message};
use jobs_train::seed;

use super::{Inputs, weights};
use crate::Failure;
use crate::agent::Model;
use crate::embed::{TextEncoder, document};
use crate::gate::Weigher;

/// The gate with the encoder of what it reads.
pub(super) struct GateReader<'a> {
    weigher: Weigher<'a>,
    encoder: &'a TextEncoder,
    /// Encoded documents by tool key.
    documents: HashMap<String, Vec<f32>>,
}

impl<'a> GateReader<'a> {
    /// A reader that knows some tools. The encoder runs without adapters, whatever acts in the answers.
    pub(super) fn new<'t>(
        weigher: Weigher<'a>,
        encoder: &'a TextEncoder,
        tools: impl Iterator<Item = &'t Tool>,
    ) -> Result<Self, Failure> {
        let mut documents = HashMap::new();
        for tool in tools.filter(|_| weigher.gate().reads_documents()) {
            if !documents.contains_key(&tool.key) {
                documents.insert(tool.key.clone(), encoder.encode(&document(tool))?);
            }
        }
        Ok(Self { weigher, encoder, documents })
    }

    /// The candidates' weights for a text.
    fn weights(&self, context: &str, candidates: &[Tool]) -> Result<Vec<f32>, Failure> {
        let gate = self.weigher.gate();
        let vector = |key: &str| gate.learned(key).or_else(|| self.documents.get(key).map(Vec::as_slice));
        let tools = candidates.iter().filter_map(|tool| vector(&tool.key)).collect::<Vec<_>>();
        self.weigher.weights(&self.encoder.encode(context)?, &tools)
    }
}

/// The base model with the adapters of one entry's candidates.
pub(super) struct Composed<'a> {
    inputs: &'a Inputs<'a>,
    entry: &'a Entry,
    seed: u64,
    /// Where each candidate's adapter is; `None` without adapters at all.
    bank: Option<(Bank, Vec<Option<SlotId>>)>,
    gate: Option<&'a GateReader<'a>>,
    steps: u64,
    /// Tokens read and written so far.
    pub(super) tokens: u64,
}

impl<'a> Composed<'a> {
    pub(super) fn new(
        inputs: &'a Inputs<'a>,
        entry: &'a Entry,
        seed: u64,
        gate: Option<&'a GateReader<'a>>,
    ) -> Result<Self, Failure> {
        let mut bank: Option<(Bank, Vec<Option<SlotId>>)> = None;
        if weights(inputs.spec).is_some() {
            let config = inputs.decoder.config();
            let adapters = entry.candidates.iter().map(|tool| inputs.adapters.load(&tool.key, config));
            let adapters = adapters.collect::<Result<Vec<_>, _>>()?;
            let shape: Option<Arc<AdapterShape>> =
                adapters.iter().flatten().next().map(|a| Arc::clone(a.shape()));
            if let Some(shape) = shape {
                let mut filled = Bank::new(&shape, inputs.decoder.device());
                let insert = |adapter: Option<_>| adapter.map(|adapter| filled.insert(adapter)).transpose();
                let slots = adapters.into_iter().map(insert).collect::<Result<Vec<_>, _>>();
                let slots = slots.map_err(|cause| Failure::Data(format!("entry {}: {cause}", entry.id)))?;
                bank = Some((filled, slots));
            }
        }
        Ok(Self { inputs, entry, seed, bank, gate, steps: 0, tokens: 0 })
    }

    fn adapters(&self, weights: &[f32]) -> Result<Box<dyn Adapters>, Failure> {
        let Some((bank, slots)) = &self.bank else { return Ok(Box::new(NoAdapters)) };
        let candidates = slots.iter().zip(weights).filter_map(|(slot, weight)| Some(((*slot)?, *weight)));
        let routing = Routing::everywhere(candidates.collect());
        Ok(Box::new(RoutedBank::new(bank, &routing).map_err(Failure::data)?))
    }
}

impl Model for Composed<'_> {
    fn gate(&mut self, context: &str) -> Result<Vec<f32>, Failure> {
        let needed = || Failure::Spec(format!("variant {} needs a gate", self.inputs.spec.variant.name));
        self.gate.ok_or_else(needed)?.weights(context, &self.entry.candidates)
    }

    fn answer(&mut self, messages: &[Message], weights: &[f32], until_mark: bool) -> Result<String, Failure> {
        let (chat, settings) = (self.inputs.chat, &self.inputs.spec.generation);
        let prompt = chat.prompt_ids(messages)?;
        let marks = if until_mark { mark_ends(chat)? } else { Vec::new() };
        let options = GenerationOptions {
            max_new_tokens: settings.max_new_tokens,
            temperature: settings.temperature as f32,
            top_k: Some(settings.top_k).filter(|k| *k > 0),
            top_p: settings.top_p as f32,
            stop_ids: chat.stops().iter().chain(&marks).copied().collect(),
            seed: seed::derive(&self.seed.to_string(), &format!("{}/{}", self.entry.id, self.steps)),
        };
        self.steps += 1;
        let adapters = self.adapters(weights)?;
        let generated = generate(self.inputs.decoder, &prompt, adapters.as_ref(), &options);
        let generated =
            generated.map_err(|cause| Failure::Data(format!("entry {}: {cause}", self.entry.id)))?;
        self.tokens += (prompt.len() + generated.ids.len()) as u64;
        let mut ids = generated.ids;
        ids.extend(generated.stopped.filter(|id| marks.contains(id)));
        Ok(chat.tokenizer().decode(&ids)?)
    }
}

/// The last token of each status mark: a step may end there.
fn mark_ends(chat: &Chat) -> Result<Vec<u32>, Failure> {
    let mut ends = Vec::new();
    for mark in [marks::CONTINUE, marks::END] {
        ends.extend(chat.tokenizer().encode(mark)?.last().filter(|id| !ends.contains(*id)).copied());
    }
    Ok(ends)
}
