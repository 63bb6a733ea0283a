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
/// What object_store says before a server's answer.
const ANSWERED: &str = "Server returned non-2xx status code: ";

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

    /// An error in one line: a server's answer where there is one, else the error with its first cause. Of an answer in XML only code
    /// and message are kept, as some repeat what was signed.
    pub(crate) fn words(&self, error: &dyn Error) -> String {
        let mut text = error.to_string();
        if let Some((_, answer)) = text.split_once(ANSWERED) {
            text = match element(answer, "Code") {
                Some(code) => {
                    let status = answer.split('<').next().unwrap_or_default();
                    format!("{status} {code}: {}", element(answer, "Message").unwrap_or_default())
                }
                None => answer.to_owned(),
            };
        } else if let Some(cause) = first_cause(error).filter(|cause| !text.contains(cause)) {
            text = format!("{text}: {cause}");
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
        let passing = match source {
            // An upload that somebody else ended is begun again.
            _ if reason.contains("NoSuchUpload") => true,
            StoreError::NotFound { .. } if action != "write" && !names_no_bucket(&reason) => {
                return ArtifactError::Missing { object, store };
            }
            StoreError::Generic { .. } | StoreError::JoinError { .. } => {
                !is_final(source) && !is_refusal(&reason)
            }
            _ => false,
        };
        if passing {
            ArtifactError::Store { store, action, object, reason }
        } else {
            ArtifactError::Refused { store, action, object, reason }
        }
    }

    /// An answer after which the same call is made again.
    pub(crate) fn again(&self, action: &'static str, object: &str, reason: &str) -> ArtifactError {
        let (store, object, reason) = (self.url.to_string(), object.to_owned(), reason.to_owned());
        ArtifactError::Store { store, action, object, reason }
    }
}

/// The bottom of an error, where the system speaks.
fn first_cause(error: &dyn Error) -> Option<String> {
    let mut cause = error.source()?;
    while let Some(below) = cause.source() {
        cause = below;
    }
    Some(cause.to_string())
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

/// Whether a server's answer blames the request: 408, 409 and 429 ask for patience instead.
fn is_refusal(reason: &str) -> bool {
    let status = reason.split(' ').next().and_then(|status| status.parse::<u16>().ok());
    status.is_some_and(|status| (400..500).contains(&status) && ![408, 409, 429].contains(&status))
}

/// Whether the bottom of an error is a fact about a file system that does not change by asking again.
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
        let body = "Error performing PUT http://host/b/o in 3s - Server returned non-2xx status code: \
                    403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code>\n\
                    <Message>The request\nsignature does not match hush-hush.</Message>\
                    <AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        assert_eq!(
            speaker.words(&answer(body)),
            "403 Forbidden: SignatureDoesNotMatch: The request signature does not match ***."
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
        for (status, passes) in [(400, false), (403, false), (408, true), (429, true), (500, true)] {
            let error = speaker.error("write", "o", &answer(&format!("{ANSWERED}{status} Status: body")));
            assert_eq!(error.retryable(), passes, "{status}");
        }
        let gone = |text: &str| {
            let source = format!("{ANSWERED}{text}").into();
            StoreError::NotFound { path: "o".to_owned(), source }
        };
        assert!(matches!(speaker.error("read", "o", &gone("404")), ArtifactError::Missing { .. }));
        assert!(matches!(
            speaker.error("read", "o", &gone("<Code>NoSuchBucket</Code>")),
            ArtifactError::Refused { .. }
        ));
    }
}
