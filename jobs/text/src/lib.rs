//! Tokenizer, chat templates, prompts and supervised-token masks: no tensors.
