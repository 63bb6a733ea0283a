//! Several requests as one text.

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::draw::Rng;
use super::phrasing::{Sentence, Style, uncapitalised};

/// How the second and later sentences follow.
const PLAIN: [&str; 5] = ["", "Then ", "Also, ", "After that, ", "And "];
const CASUAL: [&str; 5] = ["then ", "also ", "and ", "oh and ", "plus "];
/// What people say around a request. Spelling as they type.
const OPENERS: [&str; 8] = ["hey ", "hi, ", "pls ", "ok so ", "umm ", "quick one: ", "yo ", "helo, "];
const CLOSERS: [&str; 5] = [" thx", " pls", " thanks!", " asap", " tnx"];

/// One text that asks for everything in order.
pub(crate) fn merge(sentences: &[&Sentence], style: Style, rng: &mut Rng) -> String {
    let mut text = String::new();
    for (i, sentence) in sentences.iter().enumerate() {
        let is_last = i + 1 == sentences.len();
        match style {
            Style::Plain => {
                let link = if i == 0 { "" } else { PLAIN.choose(rng).copied().unwrap_or_default() };
                text.push_str(link);
                text.push_str(&following(sentence, link));
                text.push_str(if sentence.text.ends_with(['?', '!', '.']) { "" } else { "." });
                text.push_str(if is_last { "" } else { " " });
            }
            Style::Casual => {
                if i > 0 {
                    text.push_str(CASUAL.choose(rng).copied().unwrap_or_default());
                }
                text.push_str(sentence.text.trim_end_matches(['?', '.']));
                text.push_str(if is_last { "" } else { ", " });
            }
        }
    }
    match style {
        Style::Plain => text,
        Style::Casual => around(text, rng),
    }
}

fn following(sentence: &Sentence, link: &str) -> String {
    if link.is_empty() || sentence.starts_with_value {
        sentence.text.clone()
    } else {
        uncapitalised(&sentence.text)
    }
}

fn around(text: String, rng: &mut Rng) -> String {
    let mut filler = |fillers: &[&'static str]| match rng.random_bool(0.4) {
        true => fillers.choose(rng).copied().unwrap_or_default(),
        false => "",
    };
    let (opener, closer) = (filler(&OPENERS), filler(&CLOSERS));
    format!("{opener}{text}{closer}")
}
