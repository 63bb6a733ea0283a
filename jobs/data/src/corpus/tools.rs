//! Made-up tools for the base's corpus.

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Map, json};

use super::roles::{ROLES, Role, THINGS, VERBS};
use crate::schema::{self, Parameter};
use crate::synthesis::draw::{Rng, made_up_word};
use crate::tool::Tool;

/// A tool with what is needed to ask for it.
#[derive(Clone, Debug)]
pub(super) struct MadeUp {
    pub(super) tool: Tool,
    pub(super) parameters: Vec<Parameter>,
    /// The role of each parameter.
    pub(super) roles: Vec<&'static Role>,
    /// Verb and thing, if the function's name tells them.
    pub(super) action: Option<(&'static str, &'static str)>,
    /// Whether parameters have the names of their roles.
    pub(super) telling: bool,
}

impl MadeUp {
    /// A new tool. About two in three have a telling name, and as many telling parameters.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let (verb, thing) = (pick(VERBS, rng), pick(THINGS, rng));
        let has_telling_name = rng.random_bool(0.65);
        let telling = rng.random_bool(0.6);
        let name = if has_telling_name { telling_name(verb, thing, rng) } else { made_up_name(rng) };
        let named = |role: &Role, rng: &mut Rng| {
            if telling { pick(role.names, rng).to_owned() } else { made_up_parameter(rng) }
        };
        Self { telling, ..Self::of(name, (verb, thing), has_telling_name, named, rng) }
    }

    /// A new tool whose name tells what it does and whose parameters have the first names of their roles: who knows the roles can call it
    /// without its document.
    pub(super) fn known(rng: &mut Rng) -> Self {
        let (verb, thing) = (pick(VERBS, rng), pick(THINGS, rng));
        let named = |role: &Role, _: &mut Rng| role.names.first().copied().unwrap_or_default().to_owned();
        Self::of(format!("{verb}_{thing}"), (verb, thing), true, named, rng)
    }

    fn of(
        name: String,
        (verb, thing): (&'static str, &'static str),
        has_telling_name: bool,
        named: impl Fn(&Role, &mut Rng) -> String,
        rng: &mut Rng,
    ) -> Self {
        // One to three parameters, few of them often.
        let count = *[1, 1, 1, 2, 2, 2, 2, 3].choose(rng).unwrap_or(&1);
        let mut roles: Vec<&'static Role> = ROLES.sample(rng, count).collect();
        roles.shuffle(rng);
        let mut properties = Map::new();
        for role in &roles {
            let name = loop {
                let name = named(role, rng);
                if !properties.contains_key(&name) {
                    break name;
                }
            };
            properties.insert(name, role.takes.schema(pick(role.names, rng)));
        }
        let required: Vec<&String> = properties.keys().collect();
        let schema = json!({
            "name": name,
            "description": format!("{verb} a {thing}"),
            "parameters": {"type": "dict", "required": required, "properties": properties},
        });
        let parameters = schema::parameters(&schema);
        #[expect(clippy::expect_used, reason = "name and parameters are set above")]
        let tool = Tool::new(schema).expect("a made-up schema is a tool");
        Self { tool, parameters, roles, action: has_telling_name.then_some((verb, thing)), telling: true }
    }
}

fn pick(words: &[&'static str], rng: &mut Rng) -> &'static str {
    words.choose(rng).copied().unwrap_or_default()
}

fn telling_name(verb: &str, thing: &str, rng: &mut Rng) -> String {
    match rng.random_range(0..6) {
        0 => format!("{thing}_{verb}"),
        1 => format!("{thing}.{verb}"),
        2 => format!("{verb}_the_{thing}"),
        _ => format!("{verb}_{thing}"),
    }
}

fn made_up_name(rng: &mut Rng) -> String {
    match rng.random_range(0..4) {
        0 => made_up_word(rng),
        1 => format!("{}.{}", made_up_word(rng), made_up_word(rng)),
        _ => format!("{}_{}", made_up_word(rng), made_up_word(rng)),
    }
}

fn made_up_parameter(rng: &mut Rng) -> String {
    let letter = char::from(rng.random_range(b'a'..=b'z'));
    match rng.random_range(0..5) {
        0 => format!("{letter}{}", rng.random_range(0..10)),
        1 => format!("{}_{letter}", made_up_word(rng)),
        2 => format!("{}_{}", made_up_word(rng), made_up_word(rng)),
        _ => made_up_word(rng),
    }
}
