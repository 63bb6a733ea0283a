//! The allocator of the process. A pass allocates and frees the same large blocks again and again.

use libmimalloc_sys::{mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 2 and 3; the binding has no name for it.
const PURGE_DELAY: mi_option_t = 15;

/// Keeps freed memory in the process instead of handing it back to the system, which would clear its pages anew for the next pass: a
/// quarter of the time of a pass over a small model.
#[expect(unsafe_code, reason = "the allocator's only interface")]
pub(crate) fn keep_pages() {
    // SAFETY: sets a number that the allocator reads atomically; any value is allowed, −1 means never.
    unsafe { mi_option_set(PURGE_DELAY, -1) };
}
