//! A model's whole way of talking: tokenizer, chat template, and the ids that end an answer.

use std::path::Path;

use crate::template::{self, read_json, token_text};
use crate::{ChatTemplate, Message, TextError, Tokenizer};

/// Tokenizer, template and end-of-turn ids of one model folder.
#[derive(Debug)]
pub struct Chat {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    end_of_turn: u32,
    stops: Vec<u32>,
}

impl Chat {
    /// Reads `tokenizer.json`, the chat template, and the end tokens (`generation_config.json`, `config.json`, `tokenizer_config.json`).
    ///
    /// # Errors
    /// When a file is missing or damaged, or none of them names an end token that the tokenizer knows.
    pub fn load(folder: &Path) -> Result<Self, TextError> {
        let tokenizer = Tokenizer::load(folder)?;
        let template = ChatTemplate::load(folder)?;
        let mut stops = Vec::new();
        for name in ["generation_config.json", "config.json"] {
            let settings = read_json(&folder.join(name))?;
            stops = settings.map(|s| ids(&s["eos_token_id"])).unwrap_or_default();
            if !stops.is_empty() {
                break;
            }
        }
        let file = folder.join(template::SETTINGS_FILE);
        let settings = read_json(&file)?.unwrap_or_default();
        let named = token_text(&settings["eos_token"]).and_then(|token| tokenizer.id(token));
        let end_of_turn = named.or(stops.first().copied());
        let end_of_turn = end_of_turn.ok_or_else(|| TextError::malformed(&file, "no known eos_token"))?;
        if !stops.contains(&end_of_turn) {
            stops.push(end_of_turn);
        }
        Ok(Self { tokenizer, template, end_of_turn, stops })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The id that ends a turn, as training targets carry it.
    pub fn end_of_turn(&self) -> u32 {
        self.end_of_turn
    }

    /// All ids that end a generation.
    pub fn stops(&self) -> &[u32] {
        &self.stops
    }

    /// Ids of a chat up to where the model's answer begins.
    ///
    /// # Errors
    /// When template or tokenizer refuse.
    pub fn prompt_ids(&self, messages: &[Message]) -> Result<Vec<u32>, TextError> {
        self.tokenizer.encode(&self.template.render(messages, true)?)
    }

    /// Ids of an answer, all of which are learnt, with the end of turn behind them if asked for.
    ///
    /// # Errors
    /// When the tokenizer refuses.
    pub fn answer_ids(&self, answer: &str, end_of_turn: bool) -> Result<Vec<u32>, TextError> {
        let mut ids = self.tokenizer.encode(answer)?;
        ids.extend(end_of_turn.then_some(self.end_of_turn));
        Ok(ids)
    }
}

/// One id or a list of them.
fn ids(field: &serde_json::Value) -> Vec<u32> {
    let id = |value: &serde_json::Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match field.as_array() {
        Some(list) => list.iter().filter_map(id).collect(),
        None => id(field).into_iter().collect(),
    }
}
