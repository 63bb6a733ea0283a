//! How a command ends when it does not succeed.

use std::process::ExitCode;

use crate::output::tell;

/// Exit code of a command that a signal stopped, as shells count it for SIGINT.
const INTERRUPTED: u8 = 130;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// Something is wrong: one line for each thing.
    Errors(Vec<String>),
    /// A person stopped it; it can be run again.
    Interrupted,
}

impl Failure {
    /// One thing that is wrong.
    pub fn new(error: impl std::fmt::Display) -> Self {
        Self::Errors(vec![error.to_string()])
    }

    /// Says it on standard error and gives the exit code.
    pub fn tell(&self) -> ExitCode {
        match self {
            Self::Errors(errors) => {
                for error in errors {
                    tell(&format!("error: {}", one_line(error)));
                }
                ExitCode::FAILURE
            }
            Self::Interrupted => {
                tell("stopped; run it again to resume");
                ExitCode::from(INTERRUPTED)
            }
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errors(errors) => f.write_str(&errors.join("; ")),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    /// The error with its causes.
    fn from(error: E) -> Self {
        let mut line = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !line.contains(&text) {
                line = format!("{line}: {text}");
            }
            cause = inner.source();
        }
        Self::Errors(vec![line])
    }
}

fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        assert_eq!(one_line("a\n  b\n\n"), "a; b");
    }
}
