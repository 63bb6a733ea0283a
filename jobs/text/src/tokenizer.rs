//! A tokenizer as its model folder describes it.

use std::path::Path;

use crate::TextError;

/// The file of a tokenizer in a model folder.
pub(crate) const FILE: &str = "tokenizer.json";

/// Text to ids and back.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// The tokenizer of a model folder. Padding and truncation that the file may ask for are left out: lengths are the caller's matter.
    ///
    /// # Errors
    /// When `tokenizer.json` is missing or damaged.
    pub fn load(folder: &Path) -> Result<Self, TextError> {
        let file = folder.join(FILE);
        let bytes = std::fs::read(&file).map_err(|cause| TextError::io(&file, cause))?;
        let mut inner =
            tokenizers::Tokenizer::from_bytes(bytes).map_err(|cause| TextError::malformed(&file, cause))?;
        inner.with_padding(None).with_truncation(None).map_err(|cause| TextError::malformed(&file, cause))?;
        Ok(Self { inner })
    }

    /// Ids of a text as it stands; special tokens that are written out in it become their ids.
    ///
    /// # Errors
    /// When the tokenizer has no id for a part of it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.ids(text, false)
    }

    /// Ids of a text with what the tokenizer adds by default, such as a leading BOS or BERT's frame.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_framed(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.ids(text, true)
    }

    /// The text of some ids, special tokens left out.
    ///
    /// # Errors
    /// When the decoder refuses them.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        self.inner.decode(ids, true).map_err(|cause| TextError::Tokenizer(cause.to_string()))
    }

    /// The id of a token given by its exact text.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Number of ids, added tokens included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn ids(&self, text: &str, framed: bool) -> Result<Vec<u32>, TextError> {
        let encoding = self.inner.encode_fast(text, framed);
        encoding.map(|e| e.get_ids().to_vec()).map_err(|cause| TextError::Tokenizer(cause.to_string()))
    }
}
