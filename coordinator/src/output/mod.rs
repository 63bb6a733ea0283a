//! What people and programs see: tables and JSON for standard output, progress for standard error.

mod progress;
mod scores;
mod table;
pub mod view;

use std::io::{self, Write};

use serde::Serialize;

pub use progress::Progress;
pub use scores::score_table;
pub use table::{
    artifacts_table, event_line, failure_line, garbage_table, jobs_table, plan_table, preview_line,
    quotas_table, sweeps_table, workers_table,
};

/// Writes data to standard output, ending in one newline. A reader that went away is no error.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{}", text.trim_end()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a value to standard output as one line of JSON.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_json<T: Serialize>(value: &T) -> io::Result<()> {
    print(&serde_json::to_string(value)?)
}

/// Writes one line for people to standard error, where nothing can be done about a failure.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
