//! Training of a byte-level BPE tokenizer for a small base model.

use std::path::Path;

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use crate::{TextError, template, tokenizer};

/// Pads, and ends a document.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Begins a message.
pub const START_OF_TURN: &str = "<|im_start|>";
/// Ends a message.
pub const END_OF_TURN: &str = "<|im_end|>";

/// What a token never crosses: a word with the mark that joins it to a name, two digits, marks with the blank behind them, blanks.
const APART: &str = r"[_.]?\p{L}+|\p{N}{1,2}|[^\p{L}\p{N}\s]+ ?|\s+";

/// Role and content of each message between the two turn marks.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Trains on texts and writes `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` into a folder. Ids 0, 1 and 2 are the
/// special tokens in the order above, then come the bytes, then the merges. Equal texts in equal order give equal bytes.
///
/// A word or number never shares a token with the blank before it, so that a value has the same tokens in a request and in a call: copying
/// is copying. Nor does a call hold tokens that say nothing, such as the blank behind each comma: they would separate each token from the
/// one that tells it apart, and a small model finds copying, which looks for what followed the same token before, much later.
///
/// # Errors
/// When the vocabulary has no room for bytes and special tokens, or a file cannot be written.
pub fn train<'a>(
    texts: impl IntoIterator<Item = &'a str, IntoIter: Send>,
    vocabulary: usize,
    folder: &Path,
) -> Result<(), TextError> {
    let refuse = |cause: Box<dyn std::error::Error + Send + Sync>| TextError::Tokenizer(cause.to_string());
    let special = [END_OF_TEXT, START_OF_TURN, END_OF_TURN];
    let alphabet = ByteLevel::alphabet();
    if vocabulary < alphabet.len() + special.len() {
        let least = alphabet.len() + special.len();
        return Err(TextError::Tokenizer(format!(
            "a vocabulary of {vocabulary} has no room for {least} tokens"
        )));
    }
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(vocabulary)
        .show_progress(false)
        .initial_alphabet(alphabet.into_iter().collect())
        .special_tokens(special.map(|token| AddedToken::from(token, true)).to_vec())
        .build()
        .into();
    let mut tokenizer = Tokenizer::new(BPE::default());
    let bytes = ByteLevel::new(false, true, false);
    let apart = Split::new(SplitPattern::Regex(APART.into()), SplitDelimiterBehavior::Isolated, false);
    let split = Sequence::new(vec![apart.map_err(refuse)?.into(), bytes.into()]);
    tokenizer.with_pre_tokenizer(Some(split)).with_decoder(Some(bytes));
    tokenizer.train(&mut trainer, texts.into_iter()).map_err(refuse)?;

    let write = |name: &str, text: String| {
        let file = folder.join(name);
        std::fs::write(&file, text).map_err(|cause| TextError::io(&file, cause))
    };
    let settings = serde_json::json!({
        "clean_up_tokenization_spaces": false,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    write(tokenizer::FILE, tokenizer.to_string(true).map_err(refuse)?)?;
    write(template::SETTINGS_FILE, format!("{settings:#}\n"))?;
    write(template::FILE, TEMPLATE.to_owned())
}
