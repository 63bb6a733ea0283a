//! Tokens as the coordinator makes and keeps them.

use proto::id::Digest;
use proto_kit::token::Token;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};

/// What tokens begin with, so that scanners of repositories and logs find lost ones.
const PREFIX: &str = "quiver_";

/// A new token of 256 random bits.
///
/// # Errors
/// When the system has no random numbers.
pub fn generate() -> Result<Token, getrandom::Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    let text = SecretString::from(format!("{PREFIX}{}", hex::encode(bits)));
    Token::new(text).ok_or(getrandom::Error::UNEXPECTED)
}

/// What the table keeps of a token. A token has 256 random bits, so that a plain hash of it cannot be guessed back.
pub fn hash(token: &str) -> Digest {
    Digest::new(Sha256::digest(token.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_differ() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.expose().len(), PREFIX.len() + 64);
        assert_ne!(hash(one.expose()), hash(two.expose()));
    }
}
