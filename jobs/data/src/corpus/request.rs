//! How requests for made-up tools are worded.

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};

use super::roles::Takes;
use super::tools::MadeUp;
use crate::schema::{Kind, Parameter};
use crate::synthesis::draw::{Manner, Rng};
use crate::synthesis::phrasing::{Atomic, Part, Phrasing};

/// What the prompt will tell, and so what the request must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Documents are shown: parameters need not be named.
    pub(super) documents: bool,
    /// The tools are known without their documents.
    pub(super) known: bool,
    /// There is one candidate only: the function need not be named.
    pub(super) alone: bool,
}

/// A request for one call of a tool that can be answered from what is told.
pub(super) fn draw(made_up: &MadeUp, told: Told, manner: Manner, rng: &mut Rng) -> Atomic {
    let function = &made_up.tool.name;
    if told.known {
        return by_cues(made_up, told, rng).draw(function, &made_up.parameters, manner, rng);
    }
    if !told.documents || rng.random_bool(0.2) {
        let mut parameters = made_up.parameters.clone();
        // Without documents only the request can set the order of arguments.
        if !told.documents {
            parameters.shuffle(rng);
        }
        let spelled = spelled_out(made_up, &parameters, told, rng);
        return spelled.draw(function, &parameters, manner, rng);
    }
    let phrasing = if made_up.telling { by_cues(made_up, told, rng) } else { by_order(made_up, told, rng) };
    phrasing.draw(function, &made_up.parameters, manner, rng)
}

/// What is asked for: by what the function's name tells, by the name itself, or (if there is no other) by anything.
fn opening(made_up: &MadeUp, told: Told, rng: &mut Rng) -> String {
    match made_up.action {
        Some((verb, thing)) if rng.random_bool(0.8) => {
            let words = [
                format!("{verb} the {thing}"),
                format!("{verb} a {thing}"),
                format!("Please {verb} my {thing}"),
                format!("I want to {verb} a {thing}"),
                format!("Can you {verb} this {thing}"),
                format!("I need you to {verb} the {thing}"),
                format!("Let us {verb} one {thing}"),
                format!("There is a {thing} to {verb}"),
            ];
            capitalised(words.choose(rng).map_or("", String::as_str))
        }
        None if told.alone && rng.random_bool(0.6) => {
            let words =
                ["I want this", "Do it", "Go", "Please help", "Make it happen", "Set it up", "Give me one"];
            words.choose(rng).copied().unwrap_or_default().to_owned()
        }
        _ => {
            let name = &made_up.tool.name;
            let words = ["Use", "Call", "Run", "Please use", "Do", "I want"];
            let word = words.choose(rng).copied().unwrap_or_default();
            let spaced = name.replace(['_', '.'], " ");
            format!("{word} {}", if rng.random_bool(0.5) { name } else { &spaced })
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Each parameter with its name.
fn spelled_out(made_up: &MadeUp, parameters: &[Parameter], told: Told, rng: &mut Rng) -> Phrasing {
    let layouts = [
        (" with ", " ", ", ", " and "),
        (" where ", " is ", ", ", " and "),
        (": ", " = ", ", ", ", "),
        (", ", ": ", ", ", ", "),
        (", ", " ", ", ", ", "),
    ];
    let (start, between, comma, last) = layouts.choose(rng).copied().unwrap_or(layouts[0]);
    let mut parts = vec![Part::Words(opening(made_up, told, rng))];
    for (i, parameter) in parameters.iter().enumerate() {
        let before = match i {
            0 => start,
            _ if i + 1 == parameters.len() => last,
            _ => comma,
        };
        parts.push(Part::Words(format!("{before}{}{between}", parameter.name)));
        parts.push(bare(parameter, rng));
    }
    Phrasing(parts)
}

/// Each parameter by the words of its role, in any order; in the call's own where no document tells that.
fn by_cues(made_up: &MadeUp, told: Told, rng: &mut Rng) -> Phrasing {
    let mut places: Vec<usize> = (0..made_up.parameters.len()).collect();
    if told.documents {
        places.shuffle(rng);
    }
    let mut parts = vec![Part::Words(opening(made_up, told, rng))];
    for place in places {
        let before = if rng.random_bool(0.3) { ", " } else { " " };
        parts.push(Part::Words(before.to_owned()));
        parts.extend(cue(made_up, place, rng));
    }
    Phrasing(parts)
}

/// Values in the schema's order, their names being no help.
fn by_order(made_up: &MadeUp, told: Told, rng: &mut Rng) -> Phrasing {
    let firsts = [" with ", " for ", ": ", " on ", " at ", ", "];
    let nexts = [" and ", ", ", ", then ", " with ", " at ", " for "];
    let mut parts = vec![Part::Words(opening(made_up, told, rng))];
    for (place, parameter) in made_up.parameters.iter().enumerate() {
        if rng.random_bool(0.5) {
            parts.push(Part::Words(" ".to_owned()));
            parts.extend(cue(made_up, place, rng));
        } else {
            let before = if place == 0 { firsts.choose(rng) } else { nexts.choose(rng) };
            parts.push(Part::Words(before.copied().unwrap_or_default().to_owned()));
            parts.push(bare(parameter, rng));
        }
    }
    Phrasing(parts)
}

fn cue(made_up: &MadeUp, place: usize, rng: &mut Rng) -> Vec<Part> {
    let (parameter, role) = (made_up.parameters[place].name.clone(), made_up.roles[place]);
    let cue = role.cues.choose(rng).copied().unwrap_or("{}");
    match (role.takes, cue.split_once('|')) {
        (Takes::Boolean, Some((yes, no))) => {
            vec![Part::Choice { parameter, yes: yes.to_owned(), no: no.to_owned() }]
        }
        _ => {
            let (before, after) = cue.split_once("{}").unwrap_or((cue, ""));
            let words = |text: &str| Part::Words(text.to_owned());
            vec![words(before), Part::Value(parameter), words(after)]
        }
    }
}

/// A value alone; a boolean in one of the ways that people answer.
fn bare(parameter: &Parameter, rng: &mut Rng) -> Part {
    let parameter_name = parameter.name.clone();
    if parameter.kind != Kind::Boolean {
        return Part::Value(parameter_name);
    }
    let words = [("yes", "no"), ("true", "false"), ("on", "off")];
    let (yes, no) = words.choose(rng).copied().unwrap_or(words[0]);
    Part::Choice { parameter: parameter_name, yes: yes.to_owned(), no: no.to_owned() }
}
