//! What a store says, in words that people may read: one line, no credentials.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use object_store::Error as StoreError;

use crate::ArtifactError;
use crate::error::is_full;

/// Longest answer of a store that is passed on.
const LONGEST: usize = 400;

/// The store behind an address, as messages name it, and the values that no message may hold.
#[derive(Clone)]
pub(crate) struct Speaker {
    url: Arc<str>,
    secrets: Arc<[String]>,
}

impl fmt::Debug for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Speaker {
    pub(crate) fn new(url: &str, secrets: Vec<String>) -> Self {
        Self { url: url.into(), secrets: secrets.into() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// An error's text in one line. Of an answer in XML only code and message are kept, as some repeat what was signed.
    pub(crate) fn words(&self, error: &dyn Error) -> String {
        let mut text = error.to_string();
        if let Some(code) = element(&text, "Code") {
            let message = element(&text, "Message").unwrap_or_default();
            let before = text.split('<').next().unwrap_or_default();
            text = format!("{before} {code}: {message}");
        }
        for secret in self.secrets.iter() {
            text = text.replace(secret, "***");
        }
        let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((end, _)) = line.char_indices().nth(LONGEST) {
            line.truncate(end);
            line.push('…');
        }
        line
    }

    /// Wraps what the store said while doing `action` to `object`.
    pub(crate) fn error(&self, action: &'static str, object: &str, source: &StoreError) -> ArtifactError {
        let (store, object) = (self.url.to_string(), object.to_owned());
        if is_full(source) {
            return ArtifactError::Full { place: store, object };
        }
        let reason = self.words(source);
        match source {
            StoreError::NotFound { .. } if action == "write" || names_no_bucket(&reason) => {
                ArtifactError::Refused { store, action, object, reason }
            }
            StoreError::NotFound { .. } => ArtifactError::Missing { object, store },
            StoreError::Generic { .. } | StoreError::JoinError { .. } if !is_final(source) => {
                ArtifactError::Store { store, action, object, reason }
            }
            _ => ArtifactError::Refused { store, action, object, reason },
        }
    }

    /// An answer after which the same call is made again.
    pub(crate) fn again(&self, action: &'static str, object: &str, reason: &str) -> ArtifactError {
        let (store, object, reason) = (self.url.to_string(), object.to_owned(), reason.to_owned());
        ArtifactError::Store { store, action, object, reason }
    }
}

/// The content of the first XML element of this name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(content, _)| content)
}

fn names_no_bucket(reason: &str) -> bool {
    ["NoSuchBucket", "ContainerNotFound", "specified bucket does not exist"]
        .iter()
        .any(|part| reason.contains(part))
}

/// Whether the bottom of an error is a fact about a file system, or an answer of a server, that does not change by asking again.
fn is_final(error: &(dyn Error + 'static)) -> bool {
    let kinds = [
        ErrorKind::PermissionDenied,
        ErrorKind::NotADirectory,
        ErrorKind::IsADirectory,
        ErrorKind::ReadOnlyFilesystem,
        ErrorKind::InvalidFilename,
    ];
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| kinds.contains(&error.kind())) || error.source().is_some_and(is_final)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> StoreError {
        StoreError::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn an_answer_becomes_one_line_without_what_was_signed() {
        let speaker = Speaker::new("s3://b", vec!["hush-hush".to_owned()]);
        let body = "403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code>\n\
                    <Message>The request\nsignature does not match hush-hush.</Message>\
                    <AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        assert_eq!(
            speaker.words(&answer(body)),
            "Generic S3 error: 403 Forbidden: SignatureDoesNotMatch: The request signature does not match ***."
        );
        assert!(speaker.words(&answer(&"ä".repeat(1000))).ends_with("ä…"));
        assert_eq!(format!("{speaker:?}"), "\"s3://b\"");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let speaker = Speaker::new("s3://b", vec![]);
        let io = |kind| StoreError::Generic { store: "file", source: Box::new(std::io::Error::from(kind)) };
        assert!(speaker.error("write", "o", &answer("503")).retryable());
        assert!(speaker.error("write", "o", &io(ErrorKind::TimedOut)).retryable());
        assert!(!speaker.error("write", "o", &io(ErrorKind::ReadOnlyFilesystem)).retryable());
        let gone = |text: &str| StoreError::NotFound { path: "o".to_owned(), source: text.into() };
        assert!(matches!(speaker.error("read", "o", &gone("404")), ArtifactError::Missing { .. }));
        assert!(matches!(
            speaker.error("read", "o", &gone("<Code>NoSuchBucket</Code>")),
            ArtifactError::Refused { .. }
        ));
    }
}
