//! The machine's random numbers and clocks, as functions of the seed. Hash tables and the runtime's own choices between ready futures draw
//! from the one, libraries look at the other; nothing else in this process may differ from run to run. The definitions below take the
//! place of the C library's.

#![expect(unsafe_code, reason = "the C library's functions are defined by their C signatures")]

use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

static SEED: AtomicU64 = AtomicU64::new(0);
static DRAWN: AtomicU64 = AtomicU64::new(0);
static NANOS: AtomicU64 = AtomicU64::new(0);

/// The seed of everything that is drawn from now on.
pub(crate) fn set_seed(seed: u64) {
    SEED.store(seed, Ordering::Relaxed);
}

/// What every clock shows from now on, in nanoseconds since its origin.
pub(crate) fn set_nanos(nanos: u64) {
    NANOS.store(nanos, Ordering::Relaxed);
}

/// Fills a buffer with what the seed says comes next.
fn fill(bytes: &mut [u8]) {
    let mut random = ChaCha8Rng::seed_from_u64(SEED.load(Ordering::Relaxed));
    random.set_stream(DRAWN.fetch_add(1, Ordering::Relaxed));
    random.fill_bytes(bytes);
}

// SAFETY: the signature is that of getrandom(2), whose callers give a buffer of `length` writable bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if !buffer.is_null() {
        // SAFETY: as above.
        fill(unsafe { std::slice::from_raw_parts_mut(buffer, length) });
    }
    length.cast_signed()
}

// SAFETY: the signature is that of clock_gettime(2), whose callers give a place for the answer.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(_clock: libc::clockid_t, answer: *mut libc::timespec) -> libc::c_int {
    let nanos = NANOS.load(Ordering::Relaxed).cast_signed();
    // SAFETY: as above.
    unsafe { answer.write(libc::timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 }) };
    0
}
