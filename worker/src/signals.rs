//! What this process is told from outside: signals, and the end of its standard input.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use worker::Exit;

/// Turns signals into the worker's exit. The first one drains; another SIGTERM or SIGINT ends at once. SIGUSR1, which batch systems
/// and spot watchers send ahead of the end, only drains.
///
/// # Errors
/// When the signals cannot be listened to.
pub(crate) fn listen(exit: &Exit) -> io::Result<impl Future<Output = ()> + use<>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut notice = signal(SignalKind::user_defined1())?;
    let exit = exit.clone();
    Ok(async move {
        let mut told = false;
        loop {
            let ahead = tokio::select! {
                biased;
                _ = terminate.recv() => false,
                _ = interrupt.recv() => false,
                _ = notice.recv() => true,
            };
            exit.drain();
            if !ahead && std::mem::replace(&mut told, true) {
                exit.now();
            }
        }
    })
}

/// Waits for the end of standard input, which is the end of the parent.
pub(crate) async fn parent(exit: Exit) {
    drop(tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await);
    tracing::info!("the parent is gone");
    exit.orphan();
}
