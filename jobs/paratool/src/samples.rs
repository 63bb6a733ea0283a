//! From traces to training samples.
//!
//! A trace becomes a prompt through the model's own chat template, with the candidates' documents in it or without, and a completion:
//! its answer and the end of turn. Every completion token is learnt. A sample longer than the limit is dropped and counted, never cut:
//! a cut answer would teach to stop early.

use std::collections::HashMap;

use jobs_data::tool::Tool;
use jobs_data::trace::Trace;
use jobs_spec::manifest::Prompt;
use jobs_text::Chat;
use jobs_text::prompt::{self, Request};
use jobs_train::sample::Sample;

use crate::Failure;

/// Turns traces over known tools into samples.
#[derive(Debug)]
pub struct SampleBuilder<'a> {
    chat: &'a Chat,
    settings: &'a Prompt,
    tools: HashMap<&'a str, &'a Tool>,
}

impl<'a> SampleBuilder<'a> {
    /// A builder for traces whose candidates are among `tools`.
    pub fn new(chat: &'a Chat, settings: &'a Prompt, tools: &'a [Tool]) -> Self {
        Self { chat, settings, tools: tools.iter().map(|tool| (tool.key.as_str(), tool)).collect() }
    }

    /// The sample of a trace; `None` when it is longer than the limit.
    ///
    /// # Errors
    /// When a candidate is not among the tools, or tokenizer or template refuse a text.
    pub fn sample(&self, trace: &Trace, documents: bool) -> Result<Option<Sample>, Failure> {
        let schema = |key: &String| {
            let tool = self.tools.get(key.as_str());
            tool.map(|tool| &tool.schema)
                .ok_or_else(|| Failure::Data(format!("candidate {key} is no known tool")))
        };
        let tools = trace.candidates.iter().map(schema).collect::<Result<Vec<_>, _>>()?;
        let request = Request {
            tools: &tools,
            question: &trace.question,
            documents,
            multi_step: trace.category.is_multi_step(),
        };
        let prompt = self.chat.prompt_ids(&prompt::messages(self.settings, &request))?;
        let completion = self.chat.answer_ids(&trace.answer, self.settings.end_of_turn)?;
        let sample = Sample { prompt, completion };
        Ok((sample.tokens() <= self.settings.max_tokens).then_some(sample))
    }

    /// The samples of some traces, without documents and, if asked for, also with them; and how many were dropped.
    ///
    /// # Errors
    /// As [`SampleBuilder::sample`].
    pub fn samples<'t>(
        &self,
        traces: impl IntoIterator<Item = &'t Trace>,
        with_documents: bool,
    ) -> Result<(Vec<Sample>, usize), Failure> {
        let forms: &[bool] = if with_documents { &[false, true] } else { &[false] };
        let (mut samples, mut dropped) = (Vec::new(), 0);
        for trace in traces {
            for documents in forms {
                match self.sample(trace, *documents)? {
                    Some(sample) => samples.push(sample),
                    None => dropped += 1,
                }
            }
        }
        Ok((samples, dropped))
    }
}
