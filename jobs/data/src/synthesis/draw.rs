//! Values drawn for parameters: by choices, default, type, limits and what name and description hint at.

use jobs_eval::bfcl::Value;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use sha2::{Digest, Sha256};

use super::phrasing::Style;
use super::words;
use crate::schema::{Kind, Parameter};

/// The generator of everything synthesised.
pub(crate) type Rng = ChaCha12Rng;

/// A generator of its own for every seed and purpose, so that one part's draws never shift another's.
pub(crate) fn stream(seed: u64, purpose: &str) -> Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    Rng::from_seed(hash.finalize().into())
}

/// Which values may be drawn, so that held-out requests hold values that training never saw. Choices and booleans are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Any value.
    All,
    /// Four fifths of all values, chosen by hash.
    Training {
        /// Which four fifths.
        seed: u64,
    },
    /// The others.
    HeldOut {
        /// The seed of the training values.
        seed: u64,
    },
}

impl Split {
    fn allows(self, spoken: &str) -> bool {
        let is_held_out = |seed: u64| {
            let hash =
                Sha256::new().chain_update(seed.to_le_bytes()).chain_update(spoken.to_lowercase()).finalize();
            hash[0] % 5 == 0
        };
        match self {
            Self::All => true,
            Self::Training { seed } => !is_held_out(seed),
            Self::HeldOut { seed } => is_held_out(seed),
        }
    }
}

/// How requests are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) style: Style,
    pub(crate) split: Split,
    /// Texts are also made-up words, which can only be copied, never guessed.
    pub(crate) open: bool,
}

/// A value and how a request says it.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) value: Value,
    pub(crate) spoken: String,
}

impl Drawn {
    fn plain(value: Value) -> Self {
        let spoken = spoken(&value);
        Self { value, spoken }
    }
}

/// A value as a request says it: text and numbers as they are, lists enumerated.
pub(crate) fn spoken(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::List(items) => enumerate(items.iter().map(spoken).collect()),
        Value::Dict(pairs) => {
            enumerate(pairs.iter().map(|(key, value)| format!("{} {}", spoken(key), spoken(value))).collect())
        }
        other => other.to_string(),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn enumerate(mut parts: Vec<String>) -> String {
    match parts.pop() {
        None => "nothing".to_owned(),
        Some(last) if parts.is_empty() => last,
        Some(last) => format!("{} and {last}", parts.join(", ")),
    }
}

/// Attempts at an allowed value before any value is taken: small sets may lie wholly on one side of the split.
const ATTEMPTS: usize = 200;

/// Draws a value for a parameter.
pub(crate) fn value(parameter: &Parameter, manner: Manner, rng: &mut Rng) -> Drawn {
    if let Some(choice) = parameter.choices.choose(rng) {
        return Drawn::plain(converted(choice, &parameter.kind));
    }
    let split = manner.split;
    if split == Split::All
        && let Some(default) = &parameter.default
        && rng.random_bool(0.15)
    {
        return Drawn::plain(converted(default, &parameter.kind));
    }
    match &parameter.kind {
        Kind::Boolean => Drawn::plain(Value::Bool(rng.random())),
        Kind::List(items) => {
            let count = rng.random_range(1..=3);
            let item = |rng: &mut Rng| match items {
                Some(item) => value(item, manner, rng).value,
                None => allowed(split, rng, |rng| Value::str(word(manner, rng))).value,
            };
            Drawn::plain(Value::List((0..count).map(|_| item(rng)).collect()))
        }
        Kind::Dict(fields) if !fields.is_empty() => {
            let given = fields.iter().filter(|field| field.required || field.default.is_none());
            let pairs =
                given.map(|field| (Value::str(&field.name), value(field, manner, rng).value)).collect();
            Drawn::plain(Value::Dict(pairs))
        }
        Kind::Dict(_) => {
            Drawn::plain(Value::Dict(vec![(Value::str(word(manner, rng)), Value::str(word(manner, rng)))]))
        }
        Kind::Integer => allowed(split, rng, |rng| Value::Int(integer(parameter, rng).into())),
        Kind::Float => allowed(split, rng, |rng| Value::Float(float(parameter, rng))),
        Kind::Text | Kind::Any => allowed(split, rng, |rng| Value::str(text(parameter, manner, rng))),
    }
}

fn allowed(split: Split, rng: &mut Rng, draw: impl Fn(&mut Rng) -> Value) -> Drawn {
    let mut drawn = Drawn::plain(draw(rng));
    for _ in 1..ATTEMPTS {
        if split.allows(&drawn.spoken) {
            break;
        }
        drawn = Drawn::plain(draw(rng));
    }
    drawn
}

/// A schema's choice or default as its declared type; what does not convert stays.
fn converted(json: &serde_json::Value, kind: &Kind) -> Value {
    let value = Value::from_json(json);
    match (kind, &value) {
        (Kind::Text, Value::Int(_) | Value::Float(_)) => Value::str(value.to_string()),
        (Kind::Float, Value::Int(_)) => json.as_f64().map_or(value, Value::Float),
        _ => value,
    }
}

fn integer(parameter: &Parameter, rng: &mut Rng) -> i64 {
    let hints = hints(parameter);
    let has = |word: &str| hints.iter().any(|hint| hint == word);
    let (low, high) = if has("year") {
        (1950, 2030)
    } else if has("age") {
        (1, 90)
    } else if has("month") {
        (1, 12)
    } else if has("day") {
        (1, 28)
    } else if has("hour") {
        (0, 23)
    } else if has("percent") || has("percentage") {
        (1, 100)
    } else {
        match rng.random_range(0..10) {
            0..=6 => (1, 99),
            7..=8 => (100, 999),
            _ => (1_000, 9_999),
        }
    };
    let low = parameter.minimum.map_or(low, |minimum| (minimum as i64).max(low));
    let high = parameter.maximum.map_or(high, |maximum| (maximum as i64).min(high)).max(low);
    rng.random_range(low..=high)
}

fn float(parameter: &Parameter, rng: &mut Rng) -> f64 {
    let low = parameter.minimum.unwrap_or(0.0);
    let high = parameter.maximum.unwrap_or(low + 100.0).max(low);
    let whole = rng.random_range(low..=high);
    let digits = if rng.random_bool(0.7) { 10.0 } else { 100.0 };
    (whole * digits).round() / digits
}

fn text(parameter: &Parameter, manner: Manner, rng: &mut Rng) -> String {
    if let Some(example) = examples(&parameter.description).choose(rng)
        && rng.random_bool(0.5)
    {
        return (*example).to_owned();
    }
    let described = parameter.description.to_uppercase();
    let dashes = described.contains("YYYY-MM-DD") || parameter.format.as_deref() == Some("date");
    if dashes || described.contains("MM/DD/YYYY") {
        return date(rng, dashes);
    }
    if manner.open && rng.random_bool(0.5) {
        return words_of(manner, rng);
    }
    let hints = hints(parameter);
    let pick = |rng: &mut Rng, pool: &[&str]| pool.choose(rng).copied().unwrap_or_default().to_owned();
    let hint = hints.iter().find_map(|hint| Hint::of(hint));
    match hint {
        Some(Hint::City) => pick(rng, words::CITIES),
        Some(Hint::Country) => pick(rng, words::COUNTRIES),
        Some(Hint::Person) if rng.random_bool(0.5) => {
            format!("{} {}", pick(rng, words::NAMES), pick(rng, words::FAMILY_NAMES))
        }
        Some(Hint::Person) => pick(rng, words::NAMES),
        Some(Hint::Language) => pick(rng, words::LANGUAGES),
        Some(Hint::Currency) => pick(rng, words::CURRENCIES),
        Some(Hint::Colour) => pick(rng, words::COLOURS),
        Some(Hint::Unit) => pick(rng, words::UNITS),
        Some(Hint::Date) => date(rng, true),
        Some(Hint::Time) => format!("{:02}:{:02}", rng.random_range(0..24), rng.random_range(0..12) * 5),
        Some(Hint::Email) => {
            format!("{}@{}.com", pick(rng, words::NAMES).to_lowercase(), pick(rng, words::WORDS))
        }
        Some(Hint::Url) => format!("https://{}.com/{}", pick(rng, words::WORDS), pick(rng, words::WORDS)),
        Some(Hint::Identifier) => format!("{}{}", pick(rng, words::WORDS), rng.random_range(10..1000)),
        None => words_of(manner, rng),
    }
}

/// Mostly one word, sometimes two; more often where the vocabulary is open, so that a base learns where a value ends.
fn words_of(manner: Manner, rng: &mut Rng) -> String {
    let first = word(manner, rng);
    let two = rng.random_bool(if manner.open { 0.4 } else { 0.2 });
    if two { format!("{first} {}", word(manner, rng)) } else { first }
}

fn date(rng: &mut Rng, dashes: bool) -> String {
    let (year, month, day) =
        (rng.random_range(2020..2030), rng.random_range(1..=12), rng.random_range(1..=28));
    if dashes { format!("{year}-{month:02}-{day:02}") } else { format!("{month:02}/{day:02}/{year}") }
}

/// An everyday word; where the vocabulary is open, often one that nobody has seen.
fn word(manner: Manner, rng: &mut Rng) -> String {
    if manner.open && rng.random_bool(0.5) {
        return made_up_word(rng);
    }
    everyday_word(rng).to_owned()
}

/// A short everyday word.
pub(crate) fn everyday_word(rng: &mut Rng) -> &'static str {
    words::WORDS.choose(rng).copied().unwrap_or_default()
}

/// A pronounceable word of two or three syllables that means nothing.
pub(crate) fn made_up_word(rng: &mut Rng) -> String {
    let count = rng.random_range(2..=3);
    (0..count).map(|_| words::SYLLABLES.choose(rng).copied().unwrap_or_default()).collect()
}

/// What a text is about, as one word of its name or description tells.
#[derive(Clone, Copy)]
enum Hint {
    City,
    Country,
    Person,
    Language,
    Currency,
    Colour,
    Unit,
    Date,
    Time,
    Email,
    Url,
    Identifier,
}

impl Hint {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "city" | "location" | "place" | "town" | "destination" | "origin" | "address" => Self::City,
            "country" | "nation" => Self::Country,
            "person" | "author" | "artist" | "player" | "username" | "user" | "customer" | "actor" => {
                Self::Person
            }
            "language" => Self::Language,
            "currency" => Self::Currency,
            "color" | "colour" => Self::Colour,
            "unit" | "units" => Self::Unit,
            "date" => Self::Date,
            "time" => Self::Time,
            "email" => Self::Email,
            "url" | "uri" | "link" | "website" => Self::Url,
            "id" | "identifier" | "code" | "key" | "token" | "uuid" => Self::Identifier,
            _ => return None,
        })
    }
}

/// The words of a parameter's name, then of its description, in lower case.
fn hints(parameter: &Parameter) -> Vec<String> {
    let text = format!("{} {}", parameter.name, parameter.description).to_lowercase();
    text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect()
}

/// Quoted examples in a description: what stands in single quotes after `e.g.`, `such as`, `like` or `for example`.
fn examples(description: &str) -> Vec<&str> {
    let starts = ["e.g.", "such as", "for example", "like"];
    let Some(start) = starts.iter().filter_map(|start| description.find(start)).min() else {
        return Vec::new();
    };
    let Some(tail) = description.get(start..) else { return Vec::new() };
    // An apostrophe inside a word opens no quotation.
    let opens = |at: usize| !tail[..at].ends_with(char::is_alphanumeric);
    tail.match_indices('\'')
        .filter(|(at, _)| opens(*at))
        .filter_map(|(at, _)| tail[at + 1..].split_once('\'').map(|(text, _)| text))
        .filter(|text| !text.trim().is_empty() && text.len() <= 40 && !text.contains('\\'))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;
    use crate::schema::parameters;
    use crate::validate::against;

    fn manner(split: Split) -> Manner {
        Manner { style: Style::Plain, split, open: false }
    }

    fn one(document: serde_json::Value) -> Parameter {
        parameters(&json!({"parameters": {"properties": {"p": document}, "required": ["p"]}})).remove(0)
    }

    #[test]
    fn values_follow_the_schema() {
        let mut rng = stream(1, "test");
        let documents = [
            json!({"type": "string", "enum": ["a", "b"]}),
            json!({"type": "integer", "maximum": 5}),
            json!({"type": "float", "default": 2}),
            json!({"type": "boolean"}),
            json!({"type": "array", "items": {"type": "integer"}}),
            json!({"type": "tuple"}),
            json!({"type": "dict", "properties": {"x": {"type": "float"}}, "required": ["x"]}),
            json!({"type": "dict"}),
            json!({"type": "any"}),
            json!({"type": "string", "description": "day in the form YYYY-MM-DD"}),
        ];
        for document in documents {
            let parameter = one(document);
            for _ in 0..50 {
                let drawn = value(&parameter, manner(Split::All), &mut rng);
                let call =
                    jobs_eval::bfcl::Call { name: "f".to_owned(), args: vec![("p".to_owned(), drawn.value)] };
                against(&call, std::slice::from_ref(&parameter)).unwrap();
            }
        }
        assert_eq!(examples("The town, e.g. 'Ulm' or 'Bonn', isn't it"), ["Ulm", "Bonn"]);
    }

    #[test]
    fn held_out_values_are_never_training_values() {
        let parameter = one(json!({"type": "string"}));
        let draw = |split| {
            let mut rng = stream(7, "split");
            (0..300).map(|_| value(&parameter, manner(split), &mut rng).spoken).collect::<HashSet<_>>()
        };
        let (training, held_out) = (draw(Split::Training { seed: 3 }), draw(Split::HeldOut { seed: 3 }));
        assert!(training.is_disjoint(&held_out));
        assert!(held_out.len() > 50);
    }
}
