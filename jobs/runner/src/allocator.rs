//! The process' memory. A pass takes and returns the same large blocks again and again.

/// Keeps returned memory in the process, in one heap for all threads.
///
/// By default the C library maps large blocks one by one, and the system clears their pages anew in every pass: up to a quarter of the
/// time of a pass over a small model. In one heap that never shrinks, blocks that one thread returned serve the next, so that the process
/// holds little more than what is in use at its peak; allocators with heaps of their own for threads and sizes held up to twice as much.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the library's only interface")]
pub(crate) fn keep_memory() {
    const NEVER: i32 = -1;
    const GROW_BY: i32 = 64 << 20;
    let settings = [
        (libc::M_MMAP_MAX, 0),
        (libc::M_TRIM_THRESHOLD, NEVER),
        (libc::M_TOP_PAD, GROW_BY),
        (libc::M_ARENA_MAX, 1),
    ];
    for (name, value) in settings {
        // SAFETY: sets a number of the allocator; called before any other thread runs.
        unsafe { libc::mallopt(name, value) };
    }
}

/// Other C libraries stay as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_memory() {}
