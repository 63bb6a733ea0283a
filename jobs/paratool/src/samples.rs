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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "helpers of tests")]
mod tests {
    use jobs_data::set::TrainingSet;

    use super::*;
    use crate::testing::{World, world};

    fn builder(world: &World, max_tokens: usize, end_of_turn: bool) -> (Prompt, TrainingSet) {
        (Prompt { max_tokens, end_of_turn, ..world.prompt.clone() }, world.set.clone())
    }

    #[test]
    fn every_answer_token_and_the_end_of_turn_are_learnt() {
        let world = world();
        let trace = &world.set.traces[1];
        let ids = |text: &str| world.chat.tokenizer().encode(text).unwrap();
        for end_of_turn in [true, false] {
            let (prompt, set) = builder(&world, 8_000, end_of_turn);
            let sample =
                SampleBuilder::new(&world.chat, &prompt, &set.tools).sample(trace, false).unwrap().unwrap();
            let mut expected = ids("[find_flight(n=1)]<CALL_END>");
            expected.extend(end_of_turn.then_some(2));
            assert_eq!(sample.completion, expected);
            let text = "<|im_start|>system\nfind_flight, play_song\none step<|im_end|>\n<|im_start|>user\nfind flight \
                        number 1<|im_end|>\n<|im_start|>assistant\n";
            assert_eq!(sample.prompt, ids(text));
        }
    }

    #[test]
    fn both_forms_are_samples_and_long_ones_are_dropped_whole() {
        let world = world();
        let (prompt, set) = builder(&world, 8_000, true);
        let all = SampleBuilder::new(&world.chat, &prompt, &set.tools);
        assert_eq!(all.samples(&set.traces, false).unwrap().0.len(), 12);
        let (samples, dropped) = all.samples(&set.traces, true).unwrap();
        assert_eq!((samples.len(), dropped), (24, 0));
        assert!(samples.chunks(2).all(|forms| forms[0].tokens() < forms[1].tokens()));
        // The limit counts prompt and answer together; at the very length a sample stays, one token below it goes.
        let length = samples[0].tokens();
        for (limit, kept) in [(length, true), (length - 1, false)] {
            let (prompt, set) = builder(&world, limit, true);
            let sample = SampleBuilder::new(&world.chat, &prompt, &set.tools).sample(&set.traces[0], false);
            assert_eq!(sample.unwrap().is_some(), kept);
        }
        let (prompt, set) = builder(&world, 50, true);
        let (short, dropped) =
            SampleBuilder::new(&world.chat, &prompt, &set.tools).samples(&set.traces, true).unwrap();
        assert_eq!(short.len() + dropped, 24);
        assert!(short.iter().all(|sample| sample.tokens() <= 50) && dropped >= 12);
    }

    #[test]
    fn an_unknown_candidate_is_named() {
        let world = world();
        let (prompt, set) = builder(&world, 8_000, true);
        let error = SampleBuilder::new(&world.chat, &prompt, &set.tools[..1])
            .samples(&set.traces, false)
            .unwrap_err();
        assert!(
            error.to_string().contains(&set.tools[1].key) || error.to_string().contains(&set.tools[2].key)
        );
    }
}
