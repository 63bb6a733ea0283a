//! What made-up tools do and take: verbs, things and the roles of parameters with the words that give them away.

use serde_json::{Value, json};

/// What tools do.
pub(super) const VERBS: &[&str] = &[
    "book", "find", "send", "paint", "order", "start", "stop", "open", "close", "check", "count", "plan",
    "move", "copy", "print", "clean", "fix", "rent", "sell", "buy", "pack", "sort", "track", "mix", "brew",
    "cook", "build", "draw", "play", "ring", "fold", "wash",
];

/// What they do it to.
pub(super) const THINGS: &[&str] = &[
    "boat", "room", "table", "song", "letter", "cake", "lamp", "door", "train", "garden", "ticket", "poster",
    "report", "photo", "bike", "parcel", "storm", "recipe", "puzzle", "ladder", "tent", "movie", "poem",
    "map", "clock", "coin", "drone", "fence", "kettle", "robot", "engine", "menu", "wallet", "harbor",
    "festival", "mirror", "carpet", "soup",
];

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Text,
    Integer,
    Float,
    /// Cues are `words if true|words if false`.
    Boolean,
    Choice(&'static [&'static str]),
    Texts,
    Integers,
}

impl Takes {
    /// The JSON schema of such a parameter.
    pub(super) fn schema(self, description: &str) -> Value {
        let mut schema = match self {
            Self::Text => json!({"type": "string"}),
            Self::Integer => json!({"type": "integer"}),
            Self::Float => json!({"type": "float"}),
            Self::Boolean => json!({"type": "boolean"}),
            Self::Choice(choices) => json!({"type": "string", "enum": choices}),
            Self::Texts => json!({"type": "array", "items": {"type": "string"}}),
            Self::Integers => json!({"type": "array", "items": {"type": "integer"}}),
        };
        schema["description"] = description.into();
        schema
    }
}

/// What a parameter is about.
#[derive(Debug)]
pub(super) struct Role {
    /// Names that a tool may give it.
    pub(super) names: &'static [&'static str],
    pub(super) takes: Takes,
    /// How requests say it; `{}` is the value.
    pub(super) cues: &'static [&'static str],
}

const fn role(names: &'static [&'static str], takes: Takes, cues: &'static [&'static str]) -> Role {
    Role { names, takes, cues }
}

/// All roles.
pub(super) const ROLES: &[Role] = &[
    role(&["city", "town", "place"], Takes::Text, &["in {}", "near {}", "around {}"]),
    role(&["person", "owner", "name"], Takes::Text, &["for {}", "under the name {}", "on behalf of {}"]),
    role(&["colour", "paint", "shade"], Takes::Text, &["in {} colour", "painted {}", "coloured {}"]),
    role(&["title", "label", "heading"], Takes::Text, &["called {}", "titled {}", "named {}"]),
    role(&["topic", "subject", "theme"], Takes::Text, &["about {}", "on the topic of {}", "dealing with {}"]),
    role(&["sender", "source", "origin"], Takes::Text, &["from {}", "coming from {}", "starting at {}"]),
    role(&["target", "destination", "goal"], Takes::Text, &["to {}", "bound for {}", "going to {}"]),
    role(&["material", "stuff", "fabric"], Takes::Text, &["made of {}", "out of {}", "using {}"]),
    role(
        &["flavor", "taste", "aroma"],
        Takes::Text,
        &["with {} flavor", "tasting of {}", "with a hint of {}"],
    ),
    role(&["folder", "album", "shelf"], Takes::Text, &["inside {}", "into the {} folder", "kept under {}"]),
    role(&["tag", "mark", "badge"], Takes::Text, &["tagged {}", "with the tag {}", "marked {}"]),
    role(
        &["note", "message", "remark"],
        Takes::Text,
        &["saying {}", "with the note {}", "adding the words {}"],
    ),
    role(
        &["hours", "duration", "span"],
        Takes::Integer,
        &["for {} hours", "lasting {} hours", "{} hours long"],
    ),
    role(&["count", "amount", "quantity"], Takes::Integer, &["{} times", "{} of them", "a total of {}"]),
    role(&["year", "vintage"], Takes::Integer, &["from the year {}", "of the year {}", "dating from {}"]),
    role(&["seats", "guests", "people"], Takes::Integer, &["for {} people", "seating {}", "with {} guests"]),
    role(&["floor", "level", "storey"], Takes::Integer, &["on floor {}", "at level {}", "{} floors up"]),
    role(&["limit", "cap", "maximum"], Takes::Integer, &["at most {}", "no more than {}", "up to {}"]),
    role(&["page", "line", "row"], Takes::Integer, &["on page {}", "at line {}", "in row {}"]),
    role(&["days", "nights", "stay"], Takes::Integer, &["for {} days", "over {} nights", "{} days in a row"]),
    role(&["price", "cost", "fee"], Takes::Float, &["for {} dollars", "at a price of {}", "costing {}"]),
    role(&["weight", "mass", "load"], Takes::Float, &["weighing {} kilos", "of {} kilos", "{} kilos heavy"]),
    role(&["temperature", "heat"], Takes::Float, &["at {} degrees", "heated to {}", "at a warmth of {}"]),
    role(
        &["distance", "range", "reach"],
        Takes::Float,
        &["over {} miles", "{} miles away", "within {} miles"],
    ),
    role(
        &["rate", "share", "ratio"],
        Takes::Float,
        &["at a rate of {}", "with a share of {}", "at {} percent"],
    ),
    role(&["quiet", "silent"], Takes::Boolean, &["quietly|loudly", "without a sound|with a bang"]),
    role(&["urgent", "rush"], Takes::Boolean, &["right away|when there is time", "in a hurry|without haste"]),
    role(&["public", "visible"], Takes::Boolean, &["for everyone to see|in private", "openly|in secret"]),
    role(&["fresh", "anew"], Takes::Boolean, &["from scratch|reusing the old one", "brand new|second hand"]),
    role(&["wrapped", "boxed"], Takes::Boolean, &["as a gift|without wrapping", "in a box|with no box"]),
    role(&["size"], Takes::Choice(&["small", "medium", "large"]), &["in {} size", "of {} size", "{} sized"]),
    role(
        &["speed", "pace"],
        Takes::Choice(&["slow", "steady", "fast"]),
        &["at {} speed", "going {}", "at a {} pace"],
    ),
    role(
        &["mode", "setting"],
        Takes::Choice(&["eco", "sport", "night"]),
        &["in {} mode", "set to {}", "using {} mode"],
    ),
    role(
        &["side", "edge"],
        Takes::Choice(&["left", "right", "top"]),
        &["on the {} side", "at the {} edge", "to the {}"],
    ),
    role(
        &["format", "filetype"],
        Takes::Choice(&["pdf", "csv", "html"]),
        &["as {}", "in {} format", "saved as {}"],
    ),
    role(&["labels", "keywords", "tags"], Takes::Texts, &["with labels {}", "covering {}", "listing {}"]),
    role(
        &["friends", "names", "members"],
        Takes::Texts,
        &["inviting {}", "together with {}", "along with {}"],
    ),
    role(
        &["numbers", "values", "scores"],
        Takes::Integers,
        &["with values {}", "for the numbers {}", "using scores {}"],
    ),
];
