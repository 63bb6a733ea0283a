//! The agent loop: a request and candidate tools in, calls out.
//!
//! In single-step categories the model answers once and its text is the output as it stands. In multi-step categories it answers step by
//! step: each step's prompt is the question with the calls made so far ([`history`]), the answer's calls are read by the benchmark's own
//! decoder, calls that were made already are not made again, and the loop ends with the end mark, with an answer that holds no readable
//! call, or after two steps more than there are tools. A missing mark means to go on. The output is the list of all calls.
//!
//! Which adapters act is decided anew before every step: by the gate's weights for the step's text, by its first choice alone, equally,
//! or by the gold answer (the oracle).

use jobs_data::tool::Tool;
use jobs_data::{history, marks};
use jobs_eval::bfcl::{Call, decode, render_calls};
use jobs_spec::manifest::{Prompt, Weights};
use jobs_text::Message;
use jobs_text::prompt::{self, Request};

use crate::Failure;

/// What the loop needs of a model.
pub trait Model {
    /// The gate's weights of the candidates for a step's text.
    ///
    /// # Errors
    /// When there is no gate, or it fails.
    fn gate(&mut self, context: &str) -> Result<Vec<f32>, Failure>;

    /// The answer to some messages under one weight per candidate (none: the base model alone). With `until_mark` it may end where a
    /// status mark ends, which is then part of the answer.
    ///
    /// # Errors
    /// When the messages cannot become a prompt.
    fn answer(&mut self, messages: &[Message], weights: &[f32], until_mark: bool) -> Result<String, Failure>;
}

/// One request to answer.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The request as one text.
    pub question: &'a str,
    /// The candidates, in prompt order.
    pub tools: &'a [Tool],
    /// Names of the gold calls in order, for the oracle.
    pub gold: &'a [String],
    /// Whether it is answered step by step.
    pub multi_step: bool,
}

/// How requests are answered.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// How prompts are built.
    pub prompt: &'a Prompt,
    /// Put the candidates' documents into the prompt.
    pub documents: bool,
    /// How adapters are weighed; `None` uses none.
    pub weights: Option<Weights>,
}

/// The output for a request: text that the benchmark's decoder reads.
///
/// # Errors
/// What the model reports.
pub fn answer(task: &Task<'_>, policy: &Policy<'_>, model: &mut dyn Model) -> Result<String, Failure> {
    let mut calls = Vec::new();
    if !task.multi_step {
        return step(task, policy, &calls, model);
    }
    for _ in 0..task.tools.len() + 2 {
        let text = step(task, policy, &calls, model)?;
        let (body, mark) = marks::split(&text);
        match decode(body) {
            Ok(new) if !new.is_empty() => {
                for call in new {
                    if !calls.contains(&call) {
                        calls.push(call);
                    }
                }
            }
            // An output without any call keeps its text, so that the verdict says what was wrong with it.
            _ if calls.is_empty() => return Ok(body.to_owned()),
            _ => break,
        }
        if mark == Some(marks::END) {
            break;
        }
    }
    Ok(render_calls(&calls))
}

fn step(
    task: &Task<'_>,
    policy: &Policy<'_>,
    calls: &[Call],
    model: &mut dyn Model,
) -> Result<String, Failure> {
    let context = history::with_history(task.question, calls);
    let weights = match policy.weights {
        None => Vec::new(),
        Some(Weights::Gate) => model.gate(&context)?,
        Some(Weights::Top1) => first_choice(&model.gate(&context)?),
        Some(Weights::Uniform) => vec![1.0 / task.tools.len() as f32; task.tools.len()],
        Some(Weights::Oracle) => oracle(task, calls),
    };
    let schemas = task.tools.iter().map(|tool| &tool.schema).collect::<Vec<_>>();
    let request = Request {
        tools: &schemas,
        question: &context,
        documents: policy.documents,
        multi_step: task.multi_step,
    };
    model.answer(&prompt::messages(policy.prompt, &request), &weights, task.multi_step)
}

/// One for the largest weight, the first of ties.
fn first_choice(weights: &[f32]) -> Vec<f32> {
    let largest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let first = weights.iter().position(|weight| *weight == largest);
    (0..weights.len()).map(|i| if Some(i) == first { 1.0 } else { 0.0 }).collect()
}

/// The gold tools, equally; step by step only the first gold call that is not made yet (the last one when all are).
fn oracle(task: &Task<'_>, calls: &[Call]) -> Vec<f32> {
    let wanted = if task.multi_step {
        let mut made = calls.iter().map(|call| call.name.as_str()).collect::<Vec<_>>();
        let open = task.gold.iter().find(|gold| match made.iter().position(|name| name == gold) {
            Some(place) => {
                made.remove(place);
                false
            }
            None => true,
        });
        open.or(task.gold.last()).into_iter().collect::<Vec<_>>()
    } else {
        task.gold.iter().collect()
    };
    let hits = task.tools.iter().map(|tool| wanted.contains(&&tool.name)).collect::<Vec<_>>();
    let count = hits.iter().filter(|hit| **hit).count().max(1) as f32;
    hits.into_iter().map(|hit| if hit { 1.0 / count } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests;
