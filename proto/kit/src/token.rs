//! Bearer tokens: what a caller shows to be let in. They come from the environment or a file, and nothing prints them.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

/// The variable that holds a token.
pub const VARIABLE: &str = "QUIVER_TOKEN";
/// Longest token that is read.
const LONGEST: usize = 512;

/// A token. `Debug` shows none of it.
#[derive(Clone, Debug)]
pub struct Token(SecretString);

/// Why there is no token: one line that shows none of it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("the token file {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: std::io::Error,
    },
    /// It is no token.
    #[error("{origin}: a token is 1 to {LONGEST} visible characters in one line, without spaces")]
    Malformed {
        /// The file or variable.
        origin: String,
    },
}

impl Token {
    /// A token from its text.
    pub fn new(text: impl Into<SecretString>) -> Option<Self> {
        let text = text.into();
        let is_token = |text: &str| {
            (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        is_token(text.expose_secret()).then_some(Self(text))
    }

    /// The token in a file, or in [`VARIABLE`] where no file is named; none where there is neither.
    ///
    /// # Errors
    /// When the file cannot be read, or what is found is no token.
    pub fn find(file: Option<&Path>) -> Result<Option<Self>, TokenError> {
        let (text, origin) = match file {
            Some(path) => {
                let unreadable = |cause| TokenError::Unreadable { path: path.to_owned(), cause };
                (std::fs::read_to_string(path).map_err(unreadable)?, path.display().to_string())
            }
            None => match std::env::var(VARIABLE) {
                Err(std::env::VarError::NotPresent) => return Ok(None),
                text => (text.unwrap_or_default(), VARIABLE.to_owned()),
            },
        };
        // A copy in a type that wipes it; what was read is wiped with it.
        let text = SecretString::from(text);
        let token = Self::new(text.expose_secret().trim());
        token.map(Some).ok_or(TokenError::Malformed { origin })
    }

    /// The text, to be hashed or shown to a coordinator.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_a_file_and_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "quiver_0123\n").unwrap();
        let token = Token::find(Some(file.path())).unwrap().unwrap();
        assert_eq!(token.expose(), "quiver_0123");
        assert!(!format!("{token:?}").contains("0123"), "{token:?}");
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["", "\n", "two words", "line\nline", "ünseen", &"x".repeat(LONGEST + 1)] {
            std::fs::write(&file, text).unwrap();
            let error = Token::find(Some(file.path())).unwrap_err().to_string();
            assert!(error.contains("a token is 1 to 512 visible characters"), "{error}");
            assert!(text.trim().is_empty() || !error.contains(text), "{error}");
        }
        let absent = Token::find(Some(Path::new("/absent"))).unwrap_err().to_string();
        assert_eq!(absent, "the token file /absent: No such file or directory (os error 2)");
    }
}
