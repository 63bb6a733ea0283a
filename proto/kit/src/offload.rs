//! Work that blocks: files, hashes.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::spawn_blocking;

static INLINE: AtomicBool = AtomicBool::new(false);

/// From now on this process runs what is offloaded at once, on the caller's thread. For simulations: their steps have one order.
pub fn inline() {
    INLINE.store(true, Ordering::Relaxed);
}

/// Runs work that blocks off the threads that serve tasks.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if INLINE.load(Ordering::Relaxed) {
        return work();
    }
    spawn_blocking(work).await.unwrap_or_else(|ended| resume_unwind(ended.into_panic()))
}
