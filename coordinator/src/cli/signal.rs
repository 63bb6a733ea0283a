//! Being told to stop: Ctrl-C in a terminal, SIGTERM elsewhere.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Listens from now on; the future ends with the first of either signal.
pub(super) fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
