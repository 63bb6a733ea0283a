//! Cutting the samples of a step into parts that run side by side.

use std::ops::Range;

/// Into how many parts a step is cut whose gradients are summed over its samples. The sum's last bits depend on the cut, so it is the same
/// on every machine, whatever its number of cores.
pub const PARTS: usize = 4;

/// Cuts items of these sizes into at most `parts` runs of neighbours, of about equal size: an item belongs to the part in which its middle
/// lies.
pub fn cut(sizes: impl Iterator<Item = usize> + Clone, parts: usize) -> Vec<Range<usize>> {
    let total = sizes.clone().sum::<usize>().max(1);
    let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
    let mut before = 0;
    for (item, size) in sizes.enumerate() {
        let part = ((2 * before + size) * parts / (2 * total)).min(parts.saturating_sub(1));
        before += size;
        match runs.last_mut() {
            Some((last, run)) if *last == part => run.end = item + 1,
            _ => runs.push((part, item..item + 1)),
        }
    }
    runs.into_iter().map(|(_, run)| run).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_items_make_equal_parts() {
        assert_eq!(cut([5; 8].into_iter(), 4), [0..2, 2..4, 4..6, 6..8]);
        assert_eq!(cut([5; 3].into_iter(), 4).len(), 3);
        assert_eq!(cut([90, 10, 10, 10].into_iter(), 2), [0..1, 1..4]);
        assert!(cut(std::iter::empty(), 4).is_empty());
    }

    proptest! {
        #[test]
        fn parts_are_all_items_in_order(sizes in prop::collection::vec(0usize..50, 0..40), parts in 1usize..9) {
            let runs = cut(sizes.iter().copied(), parts);
            prop_assert!(runs.len() <= parts);
            prop_assert_eq!(runs.iter().cloned().flatten().collect::<Vec<_>>(), (0..sizes.len()).collect::<Vec<_>>());
            // No part is larger than its share and one item.
            let (total, largest) = (sizes.iter().sum::<usize>(), sizes.iter().copied().max().unwrap_or(0));
            for run in runs {
                prop_assert!(sizes[run].iter().sum::<usize>() <= total.div_ceil(parts) + largest);
            }
        }
    }
}
