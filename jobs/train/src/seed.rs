//! Seeds for named streams of random numbers.

use sha2::{Digest, Sha256};

/// The seed of the stream `name` of whatever `key` identifies, such as a job. Distinct pairs give independent seeds, and the same pair
/// the same seed on every machine.
pub fn derive(key: &str, name: &str) -> u64 {
    let mut hash = Sha256::new();
    // The length keeps ("ab", "c") and ("a", "bc") apart.
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(name);
    hash.finalize().iter().take(8).fold(0, |seed, &byte| seed << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::derive;

    #[test]
    fn streams_differ_by_key_and_name_and_never_change() {
        assert_eq!(derive("job", "order"), derive("job", "order"));
        assert_ne!(derive("job", "order"), derive("job", "init"));
        assert_ne!(derive("ab", "c"), derive("a", "bc"));
    }
}
