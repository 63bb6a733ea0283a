//! How much memory a lane may use, and what a pass computes again so that it does not use more.

use std::path::Path;

use jobs_lm::device;
use jobs_spec::memory::{FanSizes, Recompute, TooLarge};

/// Bytes that a process which begins now may use on a device of this name; `None` where the system does not tell.
pub(crate) fn available(device: &str) -> Option<u64> {
    if device == "cpu" { left() } else { device::free_memory(device) }
}

/// What the machine has left, within the limit of the process' control group.
fn left() -> Option<u64> {
    let free = field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let limit = |path: &str| std::fs::read_to_string(Path::new(path)).ok()?.trim().parse::<u64>().ok();
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    Some(limits.into_iter().filter_map(limit).fold(free, u64::min))
}

/// Largest resident memory of this process so far, in bytes; 0 where the system does not tell.
pub(crate) fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmHWM:").unwrap_or(0)
}

/// A line `name N kB` of a file of the kernel, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What the passes of a fan compute again: as little as the memory allows; without a known limit, nothing.
///
/// # Errors
/// When the fan fits with no policy.
pub(crate) fn policy(sizes: &FanSizes<'_>, available: Option<u64>) -> Result<Recompute, TooLarge> {
    available.map_or(Ok(Recompute::Nothing), |available| sizes.fit(available))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_is_left_and_what_was_used() {
        assert!(available("cpu").is_none_or(|bytes| bytes > 1 << 20));
        assert!(peak() > 1 << 20);
        assert_eq!(field("VmPeak:\t 3 kB\nVmHWM:\t 12 kB\n", "VmHWM:"), Some(12 * 1024));
        assert_eq!(field("VmPeak: 3 kB", "VmHWM:"), None);
    }
}
