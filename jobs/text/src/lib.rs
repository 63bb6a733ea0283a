//! Between text and token ids: tokenizers, chat templates, prompts. No tensors.

pub mod bpe;
mod chat;
mod error;
pub mod json;
pub mod prompt;
mod template;
mod tokenizer;

pub use chat::Chat;
pub use error::TextError;
pub use template::{ChatTemplate, Message, Role};
pub use tokenizer::Tokenizer;
