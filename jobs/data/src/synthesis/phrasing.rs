//! Sentences with places for values: authored ones (`Row {hours} hours on {lake}`) and ones built from a schema.

use jobs_eval::bfcl::{Call, Value};
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::draw::{self, Drawn, Manner, Rng};
use crate::error::Problem;
use crate::schema::Parameter;

/// How a request is worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Whole sentences.
    Plain,
    /// As real users write: lower case, fillers, little punctuation.
    Casual,
}

/// A sentence with places for values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Phrasing(pub(crate) Vec<Part>);

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Words(String),
    /// The value of a parameter, by name.
    Value(String),
    /// Words that a boolean parameter chooses.
    Choice {
        parameter: String,
        yes: String,
        no: String,
    },
}

/// A request with the call that answers it.
#[derive(Clone, Debug)]
pub(crate) struct Atomic {
    pub(crate) sentence: Sentence,
    pub(crate) call: Call,
}

/// A request without its final full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    pub(crate) text: String,
    /// Whether it starts with a value, whose case must stay.
    pub(crate) starts_with_value: bool,
}

impl Phrasing {
    /// Reads `{parameter}` (a value) and `{parameter?words if true|words if false}`.
    ///
    /// # Errors
    /// An unbalanced brace, an unknown parameter, or a required parameter that the sentence does not hold.
    pub(crate) fn parse(text: &str, parameters: &[Parameter]) -> Result<Self, Problem> {
        let wrong = |what: String| Problem::new("phrasings", format!("`{text}`: {what}"));
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((words, tail)) = rest.split_once('{') {
            let (place, after) =
                tail.split_once('}').ok_or_else(|| wrong("a brace is not closed".to_owned()))?;
            if !words.is_empty() {
                parts.push(Part::Words(words.to_owned()));
            }
            parts.push(match place.split_once('?') {
                None => Part::Value(place.to_owned()),
                Some((parameter, choices)) => {
                    let (yes, no) =
                        choices.split_once('|').ok_or_else(|| wrong("a choice needs `yes|no`".to_owned()))?;
                    Part::Choice { parameter: parameter.to_owned(), yes: yes.to_owned(), no: no.to_owned() }
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Words(rest.to_owned()));
        }
        let phrasing = Self(parts);
        if let Some(unknown) = phrasing.mentioned().find(|name| !parameters.iter().any(|p| p.name == *name)) {
            return Err(wrong(format!("no parameter `{unknown}`")));
        }
        match parameters.iter().find(|p| p.required && !phrasing.mentions(&p.name)) {
            Some(missing) => Err(wrong(format!("`{}` is required", missing.name))),
            None => Ok(phrasing),
        }
    }

    /// A sentence for a tool that has none of its own: what its description says, then the parameters that are given with their names.
    pub(crate) fn from_schema(name: &str, description: &str, given: &[&Parameter], rng: &mut Rng) -> Self {
        let mut parts = vec![Part::Words(opening(name, description, rng))];
        let layouts = [
            (" with ", " ", ", ", " and "),
            (" where ", " is ", ", ", " and "),
            (": ", " = ", ", ", ", "),
            (", ", ": ", "; ", "; "),
            (" using ", " ", ", ", " and "),
        ];
        let (start, between, comma, last) = layouts.choose(rng).copied().unwrap_or(layouts[0]);
        for (i, parameter) in given.iter().enumerate() {
            let before = match i {
                0 => start,
                _ if i + 1 == given.len() => last,
                _ => comma,
            };
            parts.push(Part::Words(format!("{before}{}{between}", spaced(&parameter.name))));
            parts.push(Part::Value(parameter.name.clone()));
        }
        Self(parts)
    }

    /// Names of the parameters in the sentence.
    fn mentioned(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Words(_) => None,
            Part::Value(parameter) | Part::Choice { parameter, .. } => Some(parameter.as_str()),
        })
    }

    /// Whether a parameter has its place in the sentence.
    pub(crate) fn mentions(&self, parameter: &str) -> bool {
        self.mentioned().any(|name| name == parameter)
    }

    /// Draws values for the parameters in the sentence; the call gives them in the schema's order.
    pub(crate) fn draw(
        &self,
        function: &str,
        parameters: &[Parameter],
        manner: Manner,
        rng: &mut Rng,
    ) -> Atomic {
        let drawn: Vec<(&str, Drawn)> = parameters
            .iter()
            .filter(|parameter| self.mentions(&parameter.name))
            .map(|parameter| (parameter.name.as_str(), draw::value(parameter, manner, rng)))
            .collect();
        let sentence = self.say(&drawn, manner.style);
        let args = drawn.into_iter().map(|(name, drawn)| (name.to_owned(), drawn.value)).collect();
        Atomic { sentence, call: Call { name: function.to_owned(), args } }
    }

    /// The sentence with its values.
    fn say(&self, drawn: &[(&str, Drawn)], style: Style) -> Sentence {
        let of = |name: &str| drawn.iter().find(|(n, _)| *n == name).map(|(_, drawn)| drawn);
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Words(words) => text.push_str(&worded(words, style)),
                Part::Value(name) => text.push_str(of(name).map_or("", |drawn| &drawn.spoken)),
                Part::Choice { parameter, yes, no } => {
                    let is_true = of(parameter).is_some_and(|drawn| matches!(drawn.value, Value::Bool(true)));
                    text.push_str(&worded(if is_true { yes } else { no }, style));
                }
            }
        }
        Sentence { text, starts_with_value: matches!(self.0.first(), Some(Part::Value(_))) }
    }
}

fn worded(words: &str, style: Style) -> String {
    match style {
        Style::Plain => words.to_owned(),
        Style::Casual => words.to_lowercase(),
    }
}

/// `from_city` and `fromCity` as `from city`.
fn spaced(name: &str) -> String {
    let mut out = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        if c.is_uppercase() && was_lower {
            out.push(' ');
        }
        was_lower = c.is_lowercase();
        out.push(if matches!(c, '_' | '.' | '-') { ' ' } else { c.to_ascii_lowercase() });
    }
    out
}

/// Longest part of a description that a request repeats, in characters.
const LONGEST_OPENING: usize = 140;

fn opening(name: &str, description: &str, rng: &mut Rng) -> String {
    let sentence = description.split(['.', '\n']).next().unwrap_or_default().trim();
    let task = if sentence.is_empty() { spaced(name) } else { cut(sentence) };
    let asks = ["I need you to ", "Can you ", "Please ", "I would like to "];
    match asks.choose(rng) {
        // "Retrieves …" does not follow "please".
        Some(ask) if rng.random_bool(0.5) && !is_third_person(&task) => {
            format!("{ask}{}", uncapitalised(&task))
        }
        _ => task,
    }
}

/// The text up to the last whole word within [`LONGEST_OPENING`].
fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_OPENING) {
        None => text.to_owned(),
        Some((end, _)) => text[..end].rsplit_once(' ').map_or(&text[..end], |(head, _)| head).to_owned(),
    }
}

fn is_third_person(task: &str) -> bool {
    let verb = task.split(' ').next().unwrap_or_default();
    verb.ends_with('s') && !verb.ends_with("ss")
}

/// The text with a small first letter, unless its first word is "I" or an abbreviation.
pub(crate) fn uncapitalised(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || (first != 'I' && second == ' ') => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::parameters;

    #[test]
    fn authored_sentences_are_checked_and_filled() {
        let schema = json!({"parameters": {"required": ["n"], "properties": {
            "n": {"type": "integer", "minimum": 3, "maximum": 3}, "quiet": {"type": "boolean"}, "w": {"type": "string"}}}});
        let parameters = parameters(&schema);
        let phrasing = Phrasing::parse("Ring {n} times{quiet? softly| loudly}", &parameters).unwrap();
        let mut rng = draw::stream(0, "test");
        let manner = Manner { style: Style::Casual, split: draw::Split::All, open: false };
        let atomic = phrasing.draw("bell", &parameters, manner, &mut rng);
        let quiet = atomic.call.to_string().contains("True");
        assert_eq!(atomic.sentence.text, if quiet { "ring 3 times softly" } else { "ring 3 times loudly" });
        assert!(atomic.call.to_string().starts_with("bell(n=3, quiet="));
        for (text, what) in [
            ("Ring", "`Ring`: `n` is required"),
            ("Ring {n", "`Ring {n`: a brace is not closed"),
            ("Ring {n} {m}", "`Ring {n} {m}`: no parameter `m`"),
            ("Ring {n} {quiet?so}", "`Ring {n} {quiet?so}`: a choice needs `yes|no`"),
        ] {
            assert_eq!(Phrasing::parse(text, &parameters).unwrap_err().what, what);
        }
    }

    #[test]
    fn first_letters_shrink_only_where_english_allows() {
        assert_eq!(uncapitalised("Book it"), "book it");
        assert_eq!(uncapitalised("A boat"), "a boat");
        assert_eq!(uncapitalised("I want"), "I want");
        assert_eq!(uncapitalised("GPS on"), "GPS on");
    }
}
