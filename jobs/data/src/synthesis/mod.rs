//! Traces from schemas alone, without any model: the paper's construction (appendix C) with sentences in place of its teacher.
//!
//! Per tool a number of *atomic* pairs (request, call), each validated. From them: `multiple` traces with one or two look-alike
//! distractors; `parallel` traces that merge two to four pairs of the tool; multi-step traces that merge the tool's pair with those of
//! look-alikes and are cut right before its own call. Order of tools and requests is shuffled. Tools are distinct by [`Tool::key`], which
//! classes documents exactly as the paper's SHA-1 of the whole schema does.

pub(crate) mod compose;
pub(crate) mod draw;
pub mod neighbours;
pub(crate) mod phrasing;
pub(crate) mod words;

use std::collections::HashSet;

use jobs_eval::bfcl::{Call, render_calls};
use jobs_spec::category::Category;
use jobs_spec::manifest::Synthesis;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

pub use draw::Split;
pub use phrasing::Style;

use crate::error::Problem;
use crate::history::with_history;
use crate::schema::{self, Parameter};
use crate::tool::Tool;
use crate::trace::Trace;
use crate::{lines, marks, validate};
use draw::{Manner, Rng};
use phrasing::{Atomic, Phrasing};

/// A tool to write requests for.
#[derive(Clone, Debug)]
pub struct Source {
    /// The tool.
    pub tool: Tool,
    parameters: Vec<Parameter>,
    phrasings: Vec<Phrasing>,
    style: Style,
}

/// What [`synthesise`] made.
#[derive(Clone, Debug, Default)]
pub struct Synthesised {
    /// Traces, tool by tool in the order of the sources.
    pub traces: Vec<Trace>,
    /// Traces asked for but not made: the tool has too few distinct calls or look-alikes.
    pub missing: usize,
}

impl Source {
    /// A tool whose requests are worded from its schema; casually if its traces are of live categories.
    pub fn of(tool: Tool, live: bool) -> Self {
        let parameters = schema::parameters(&tool.schema);
        let style = if live { Style::Casual } else { Style::Plain };
        Self { tool, parameters, phrasings: Vec::new(), style }
    }

    /// A tool from a document with authored `phrasings`: sentences with `{parameter}` where the value stands and
    /// `{parameter?words|words}` where a boolean chooses.
    ///
    /// # Errors
    /// A document that is no tool, has no phrasings, or has one that does not suit its parameters.
    pub fn authored(document: &serde_json::Value) -> Result<Self, Problem> {
        let tool = Tool::of(document)?;
        let parameters = schema::parameters(&tool.schema);
        let sentences = lines::list(document, "phrasings")?;
        let phrasings = sentences
            .iter()
            .map(|sentence| Phrasing::parse(sentence.as_str().unwrap_or_default(), &parameters))
            .collect::<Result<Vec<_>, _>>()?;
        if phrasings.is_empty() {
            return Err(Problem::new("phrasings", "expected at least one sentence"));
        }
        Ok(Self { tool, parameters, phrasings, style: Style::Plain })
    }

    /// Draws up to `count` pairs with distinct calls, each of them valid. `wordings` picks among authored phrasings.
    pub(crate) fn atomics(
        &self,
        count: usize,
        wordings: impl Fn(usize) -> std::ops::Range<usize>,
        manner: Manner,
        rng: &mut Rng,
    ) -> Vec<Atomic> {
        /// Draws per wanted pair before a tool counts as having too few distinct calls.
        const ATTEMPTS: usize = 8;
        let mut seen = HashSet::new();
        let mut pairs = Vec::with_capacity(count);
        let usable = self.phrasings.get(wordings(self.phrasings.len())).unwrap_or(&self.phrasings);
        for _ in 0..count * ATTEMPTS {
            if pairs.len() == count {
                break;
            }
            let own;
            let phrasing = match usable.choose(rng) {
                Some(phrasing) => phrasing,
                None => {
                    own = self.unauthored(rng);
                    &own
                }
            };
            let atomic = phrasing.draw(&self.tool.name, &self.parameters, manner, rng);
            let is_valid = validate::against(&atomic.call, &self.parameters).is_ok();
            if is_valid && seen.insert(atomic.call.to_string()) {
                pairs.push(atomic);
            }
        }
        pairs
    }

    /// A sentence from the schema: all required parameters and some of the others.
    fn unauthored(&self, rng: &mut Rng) -> Phrasing {
        let chance = 1.0 / (1.0 + self.parameters.iter().filter(|p| !p.required).count() as f64);
        let given: Vec<&Parameter> =
            self.parameters.iter().filter(|p| p.required || rng.random_bool(chance)).collect();
        let description = self.tool.schema["description"].as_str().unwrap_or_default();
        Phrasing::from_schema(&self.tool.name, description, &given, rng)
    }
}

/// Writes the traces of all tools. Equal sources and settings give equal traces; a tool's requests depend on no other tool.
pub fn synthesise(sources: &[Source], settings: &Synthesis) -> Synthesised {
    let atomics: Vec<Vec<Atomic>> = sources
        .iter()
        .map(|source| {
            let rng = &mut draw::stream(settings.seed, &format!("atomic {}", source.tool.key));
            let manner = Manner { style: source.style, split: Split::All, open: false };
            source.atomics(settings.atomic, |all| 0..all, manner, rng)
        })
        .collect();
    let tools: Vec<&Tool> = sources.iter().map(|source| &source.tool).collect();
    let near = neighbours::neighbours(&tools, settings.neighbours);
    let pool = Pool { tools: &tools, atomics: &atomics, near: &near, order: Order::Request };
    let mut made = Synthesised::default();
    for (target, source) in sources.iter().enumerate() {
        let rng = &mut draw::stream(settings.seed, &format!("compose {}", source.tool.key));
        let before = made.traces.len();
        for pair in 0..atomics[target].len() {
            made.traces.extend(pool.single(target, pair, 2, source.style, rng));
        }
        for _ in 0..settings.parallel {
            let count = rng.random_range(2..=4);
            made.traces.extend(pool.parallel(target, count, 0, source.style, rng));
        }
        for i in 0..settings.parallel_multiple {
            // Equal shares of two, three and four tools.
            made.traces.extend(pool.step(target, 2 + i % 3, source.style, rng));
        }
        let wanted = settings.atomic + settings.parallel + settings.parallel_multiple;
        made.missing += wanted.saturating_sub(made.traces.len() - before);
    }
    made
}

/// Tools with their pairs and look-alikes: what traces are put together from.
pub(crate) struct Pool<'a> {
    pub(crate) tools: &'a [&'a Tool],
    pub(crate) atomics: &'a [Vec<Atomic>],
    pub(crate) near: &'a [Vec<usize>],
    pub(crate) order: Order,
}

/// Which of several tools' calls comes first. The checker takes them in any order, a model has to learn one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The order in which the request asks.
    Request,
    /// The order of the pool's tools. A gate that reads a mean over a request cannot see what stands where in it, but can know the tools.
    Tools,
    /// Mostly the order of the tools. Now and then the request's own, so that an adapter sees its call made early, too, and learns to go
    /// on as long as anything is open: a gate may err in the order.
    MostlyTools,
}

/// Share of requests in their own order under [`Order::MostlyTools`].
const OWN_ORDER: f64 = 0.03;

/// A merged request: its text, the tools with the calls in the order to make them.
pub(crate) struct Composed {
    pub(crate) text: String,
    pub(crate) calls: Vec<(usize, Call)>,
}

impl Pool<'_> {
    /// One call of the target among 1 to `most` distractors.
    pub(crate) fn single(
        &self,
        target: usize,
        pair: usize,
        most: usize,
        style: Style,
        rng: &mut Rng,
    ) -> Option<Trace> {
        let atomic = self.atomics[target].get(pair)?;
        let candidates = self.candidates(target, 1..=most, rng);
        if candidates.len() < 2 {
            return None;
        }
        let question = compose::merge(&[&atomic.sentence], style, rng);
        let answer = render_calls(std::slice::from_ref(&atomic.call));
        let category = in_style(Category::Multiple, style);
        Some(self.trace(category, target, question, &candidates, answer))
    }

    /// `count` calls of the target in one list, among up to `most` distractors.
    pub(crate) fn parallel(
        &self,
        target: usize,
        count: usize,
        most: usize,
        style: Style,
        rng: &mut Rng,
    ) -> Option<Trace> {
        let composed = self.compose_parallel(target, count, style, rng)?;
        let calls: Vec<Call> = composed.calls.into_iter().map(|(_, call)| call).collect();
        let candidates = self.candidates(target, 0..=most, rng);
        let category = in_style(Category::Parallel, style);
        Some(self.trace(category, target, composed.text, &candidates, render_calls(&calls)))
    }

    /// The target's step in a request for calls of `count` tools.
    pub(crate) fn step(&self, target: usize, count: usize, style: Style, rng: &mut Rng) -> Option<Trace> {
        let composed = self.compose_steps(target, count, style, rng)?;
        let place = composed.calls.iter().position(|(tool, _)| *tool == target)?;
        let mut calls: Vec<Call> = Vec::with_capacity(composed.calls.len());
        let mut candidates = Vec::with_capacity(composed.calls.len());
        for (tool, call) in composed.calls {
            candidates.push(tool);
            calls.push(call);
        }
        let mark = if place + 1 == calls.len() { marks::END } else { marks::CONTINUE };
        candidates.shuffle(rng);
        let question = with_history(&composed.text, &calls[..place]);
        let answer = format!("{}{mark}", render_calls(&calls[place..=place]));
        let category = in_style(Category::ParallelMultiple, style);
        Some(self.trace(category, target, question, &candidates, answer))
    }

    /// A request for `count` calls of one tool, or for as many distinct ones as it has; `None` if that is one.
    pub(crate) fn compose_parallel(
        &self,
        target: usize,
        count: usize,
        style: Style,
        rng: &mut Rng,
    ) -> Option<Composed> {
        let count = count.min(self.atomics[target].len());
        if count < 2 {
            return None;
        }
        let pairs: Vec<&Atomic> = self.atomics[target].sample(rng, count).collect();
        Some(composed(pairs.into_iter().map(|atomic| (target, atomic)).collect(), style, rng))
    }

    /// A request for one call each of the target and `count - 1` look-alikes; `None` if there are too few.
    pub(crate) fn compose_steps(
        &self,
        target: usize,
        count: usize,
        style: Style,
        rng: &mut Rng,
    ) -> Option<Composed> {
        let mut tools = self.look_alikes(target, count - 1, rng);
        if tools.len() + 1 < count {
            return None;
        }
        tools.push(target);
        let parts: Option<Vec<_>> =
            tools.iter().map(|&tool| Some((tool, self.atomics[tool].choose(rng)?))).collect();
        let mut composed = composed(parts?, style, rng);
        match self.order {
            Order::Request => {}
            Order::MostlyTools if rng.random_bool(OWN_ORDER) => {}
            Order::Tools | Order::MostlyTools => composed.calls.sort_by_key(|(tool, _)| *tool),
        }
        Some(composed)
    }

    /// The target among as many look-alikes as `distractors` allows, shuffled.
    pub(crate) fn candidates(
        &self,
        target: usize,
        distractors: std::ops::RangeInclusive<usize>,
        rng: &mut Rng,
    ) -> Vec<usize> {
        let count = rng.random_range(distractors);
        let mut candidates = self.look_alikes(target, count, rng);
        candidates.push(target);
        candidates.shuffle(rng);
        candidates
    }

    /// Up to `count` tools from the target's look-alikes, no two of one name.
    fn look_alikes(&self, target: usize, count: usize, rng: &mut Rng) -> Vec<usize> {
        let mut near = self.near[target].clone();
        near.shuffle(rng);
        let mut names = HashSet::from([self.tools[target].name.as_str()]);
        near.retain(|&tool| names.insert(&self.tools[tool].name));
        near.truncate(count);
        near
    }

    fn trace(
        &self,
        category: Category,
        target: usize,
        question: String,
        candidates: &[usize],
        answer: String,
    ) -> Trace {
        Trace {
            category,
            tool: self.tools[target].key.clone(),
            question,
            candidates: candidates.iter().map(|&tool| self.tools[tool].key.clone()).collect(),
            answer,
        }
    }
}

/// Shuffles the requests and merges them.
fn composed(mut parts: Vec<(usize, &Atomic)>, style: Style, rng: &mut Rng) -> Composed {
    parts.shuffle(rng);
    let sentences: Vec<_> = parts.iter().map(|(_, atomic)| &atomic.sentence).collect();
    let text = compose::merge(&sentences, style, rng);
    Composed { text, calls: parts.into_iter().map(|(tool, atomic)| (tool, atomic.call.clone())).collect() }
}

/// The live form of a category for casual requests.
pub(crate) fn in_style(category: Category, style: Style) -> Category {
    match (style, category) {
        (Style::Plain, category) => category,
        (Style::Casual, Category::Multiple | Category::LiveMultiple) => Category::LiveMultiple,
        (Style::Casual, Category::Parallel | Category::LiveParallel) => Category::LiveParallel,
        (Style::Casual, Category::ParallelMultiple | Category::LiveParallelMultiple) => {
            Category::LiveParallelMultiple
        }
    }
}
