//! What the base model learns from: requests for made-up tools.
//!
//! With documents in the prompt a request says what it wants in the words of each parameter's role, or gives bare values in the schema's
//! order; without, it spells out the parameters' names. Both can be answered from the prompt alone. Or the tool is one whose parameters
//! have the first names of their roles, so that a model which knows the roles needs no document, as one with adapters will need none. All
//! six categories occur, with history and marks. Values are often words that nobody has seen, so that the model learns to copy.
//!
//! A small model finds copying among all this only late. So the corpus goes from easy to hard: its first sixth is nothing but copying, one
//! long text from request to call. Most of that is without blanks, since a token that stands between all others hides which one follows
//! which; only then come texts of several words.

mod request;
mod roles;
mod tools;

use std::borrow::Cow;

use jobs_eval::bfcl::{Call, Value, render_calls};
use jobs_spec::category::Category;
use jobs_spec::manifest::BaseTraining;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::json;

use crate::history::with_history;
use crate::marks;
use crate::synthesis::draw::{self, Manner, Rng};
use crate::synthesis::phrasing::Atomic;
use crate::synthesis::{Split, Style, compose, in_style, words};
use crate::tool::Tool;
use crate::trace::Trace;
use request::Told;
use tools::MadeUp;

/// One example in so many, the first ones, is copying alone.
const COPYING: usize = 6;
/// Share of tools that are known without their documents, where none are shown.
const KNOWN: f64 = 0.6;

/// A seeded, endless corpus: example `i` depends on nothing but the seed, the settings and `i`.
#[derive(Clone, Debug)]
pub struct Corpus {
    seed: u64,
    with_documents: f64,
    /// The examples before this one are copying alone.
    copying: usize,
    tools: Vec<MadeUp>,
}

/// One example of the corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct CorpusExample {
    /// The candidates, in the order of the trace.
    pub tools: Vec<Tool>,
    /// Whether the prompt shows their documents.
    pub with_documents: bool,
    /// Request and target.
    pub trace: Trace,
}

/// Kinds of examples.
#[derive(Clone, Copy)]
enum Form {
    /// One call.
    Single,
    /// Several calls of one tool in one list.
    List,
    /// One step of several.
    Step,
}

/// The everyday words that texts of the corpus hold beside made-up ones.
pub fn everyday_words() -> &'static [&'static str] {
    words::WORDS
}

impl Corpus {
    /// The corpus of a base's settings; it has at least eight tools.
    pub fn new(training: &BaseTraining, seed: u64) -> Self {
        let tools = (0..training.tools.max(8))
            .map(|i| MadeUp::new(&mut draw::stream(seed, &format!("corpus tool {i}"))))
            .collect();
        let copying = training.examples / COPYING;
        Self { seed, with_documents: training.with_documents.clamp(0.0, 1.0), copying, tools }
    }

    /// The made-up tools.
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.tools.iter().map(|made_up| &made_up.tool)
    }

    /// Example `i`.
    pub fn example(&self, i: usize) -> CorpusExample {
        let rng = &mut draw::stream(self.seed, &format!("corpus example {i}"));
        let with_documents = rng.random_bool(self.with_documents);
        if i < self.copying {
            return self.copy(with_documents, i >= self.copying / 4 * 3, rng);
        }
        let style = if rng.random_bool(0.25) { Style::Casual } else { Style::Plain };
        let form = match rng.random_range(0..20) {
            0..=7 => Form::Single,
            8..=12 => Form::List,
            _ => Form::Step,
        };
        // Names are short, documents are not.
        let most = if with_documents { 3 } else { 6 };
        let (called, candidates) = match form {
            Form::Single => (1, *[1, 2, 2, 2, 3, most].choose(rng).unwrap_or(&1)),
            Form::List => (1, *[1, 1, 1, 1, 2].choose(rng).unwrap_or(&1)),
            Form::Step => {
                let called = *[2, 2, 2, 2, 3, 3, 4].choose(rng).unwrap_or(&2);
                (called, called + usize::from(rng.random_bool(0.2)))
            }
        };
        let known = !with_documents && rng.random_bool(KNOWN);
        let picked = self.pick(candidates, known, rng);
        let told = Told { documents: with_documents, known, alone: candidates == 1 };
        let manner = Manner { style, split: Split::All, open: true };
        let (category, text, calls, place) = match form {
            Form::Single | Form::List => {
                let count =
                    if matches!(form, Form::Single) { 1 } else { *[2, 2, 3, 3, 4].choose(rng).unwrap_or(&2) };
                let pairs: Vec<Atomic> =
                    (0..count).map(|_| request::draw(&picked[0], told, manner, rng)).collect();
                let category = if count == 1 { Category::Multiple } else { Category::Parallel };
                let (text, calls) = merged(&pairs, style, rng);
                (category, text, calls, None)
            }
            Form::Step => {
                let pairs: Vec<Atomic> = picked
                    .iter()
                    .take(called)
                    .map(|made_up| request::draw(made_up, told, manner, rng))
                    .collect();
                let place = rng.random_range(0..called);
                let calls = pairs.iter().map(|atomic| atomic.call.clone()).collect();
                // Calls come in any order: a call's values are found by what its tool does, not by their place.
                let mut asked = pairs;
                asked.shuffle(rng);
                (Category::ParallelMultiple, merged(&asked, style, rng).0, calls, Some(place))
            }
        };
        let target = picked[place.unwrap_or(0)].tool.key.clone();
        let mut tools: Vec<Tool> = picked.into_iter().map(|made_up| made_up.tool).collect();
        tools.shuffle(rng);
        let (question, answer) = match place {
            None => (text, render_calls(&calls)),
            Some(place) => {
                let mark = if place + 1 == calls.len() { marks::END } else { marks::CONTINUE };
                let answer = format!("{}{mark}", render_calls(&calls[place..=place]));
                (with_history(&text, &calls[..place]), answer)
            }
        };
        let candidates = tools.iter().map(|tool| tool.key.clone()).collect();
        let category = in_style(category, style);
        let trace = Trace { category, tool: target, question, candidates, answer };
        CorpusExample { tools, with_documents, trace }
    }

    /// One call with one long text, all of which stands in the request. `spaced` puts blanks into the text here and there.
    fn copy(&self, with_documents: bool, spaced: bool, rng: &mut Rng) -> CorpusExample {
        let name = self.tools.choose(rng).map(|made_up| made_up.tool.name.clone()).unwrap_or_default();
        let parameter = draw::made_up_word(rng);
        let mut text = String::new();
        for link in 0..rng.random_range(3..=12) {
            if link > 0 && spaced && rng.random_bool(0.3) {
                text.push(' ');
            }
            match rng.random_range(0..4) {
                0 => text.push_str(&rng.random_range(10..100).to_string()),
                1 => text.push_str(&draw::made_up_word(rng)),
                _ => text.push_str(draw::everyday_word(rng)),
            }
        }
        let document = json!({
            "name": name,
            "description": "",
            "parameters": {
                "type": "dict",
                "properties": {&parameter: {"type": "string", "description": ""}},
                "required": [&parameter],
            },
        });
        #[expect(clippy::expect_used, reason = "it has a name and parameters")]
        let tool = Tool::new(document).expect("a made-up schema is a tool");
        let question = format!("{name} {parameter} {text}");
        let call = Call { name, args: vec![(parameter, Value::str(text))] };
        let (target, candidates) = (tool.key.clone(), vec![tool.key.clone()]);
        let answer = render_calls(&[call]);
        let trace = Trace { category: Category::Multiple, tool: target, question, candidates, answer };
        CorpusExample { tools: vec![tool], with_documents, trace }
    }

    /// Different tools with different names, the first ones to be called.
    fn pick(&self, count: usize, known: bool, rng: &mut Rng) -> Vec<MadeUp> {
        let chances = count * 4;
        let pool: Vec<Cow<'_, MadeUp>> = match known {
            true => (0..chances).map(|_| Cow::Owned(MadeUp::known(rng))).collect(),
            false => self.tools.sample(rng, self.tools.len().min(chances)).map(Cow::Borrowed).collect(),
        };
        let mut picked: Vec<MadeUp> = Vec::with_capacity(count);
        for made_up in pool {
            let is_alike = |other: &MadeUp| {
                other.tool.name == made_up.tool.name
                    || (other.action.is_some() && other.action == made_up.action)
            };
            if picked.len() < count && !picked.iter().any(is_alike) {
                picked.push(made_up.into_owned());
            }
        }
        picked
    }
}

fn merged(pairs: &[Atomic], style: Style, rng: &mut Rng) -> (String, Vec<Call>) {
    let sentences: Vec<_> = pairs.iter().map(|atomic| &atomic.sentence).collect();
    let text = compose::merge(&sentences, style, rng);
    (text, pairs.iter().map(|atomic| atomic.call.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::roles::ROLES;
    use super::*;
    use crate::validate;

    #[test]
    fn the_first_part_is_copying() {
        let corpus = Corpus::new(&BaseTraining { tools: 60, examples: 400, ..BaseTraining::default() }, 5);
        for i in 0..66 {
            let CorpusExample { tools, trace, .. } = corpus.example(i);
            let calls = validate::answer(&trace.answer, |_| tools.first()).unwrap();
            let text = calls[0].args[0].1.as_str().unwrap();
            assert!(trace.question.ends_with(text), "{trace:?}");
            assert!(i >= 48 || !text.contains(' '), "{trace:?}");
        }
    }

    #[test]
    fn examples_are_valid_repeatable_and_cover_all_categories() {
        let corpus = Corpus::new(&BaseTraining { tools: 60, examples: 3, ..BaseTraining::default() }, 5);
        let mut seen = std::collections::BTreeSet::new();
        let mut documented = 0;
        for i in 1..=600 {
            let example = corpus.example(i);
            assert_eq!(example, corpus.example(i));
            let CorpusExample { tools, with_documents, trace } = example;
            let (text, mark) = marks::split(&trace.answer);
            assert_eq!(mark.is_some(), trace.category.is_multi_step());
            let named = |name: &str| tools.iter().find(|tool| tool.name == name);
            let calls = validate::answer(text, named).unwrap_or_else(|e| panic!("{e}: {trace:?}"));
            let target = tools.iter().find(|tool| tool.key == trace.tool).unwrap();
            assert!(calls.iter().all(|call| call.name == target.name));
            if !with_documents {
                let mut given = calls.iter().flat_map(|call| &call.args).map(|(name, _)| name.as_str());
                let question = trace.question.to_lowercase();
                let is_known = |name: &str| ROLES.iter().any(|role| role.names[0] == name);
                assert!(
                    given.all(|name| is_known(name) || question.contains(&name.to_lowercase())),
                    "{trace:?}"
                );
            }
            documented += usize::from(with_documents);
            seen.insert(trace.category);
        }
        assert_eq!(seen.len(), 6);
        assert!((220..320).contains(&documented), "{documented}");
        assert_ne!(corpus.example(0), Corpus::new(&BaseTraining::default(), 6).example(0));
    }
}
