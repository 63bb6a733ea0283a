//! Training samples and the order in which a training sees them.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// One training sample as token ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    /// What is given.
    pub prompt: Vec<u32>,
    /// What is learnt, with the token that ends it.
    pub completion: Vec<u32>,
}

impl Sample {
    /// Rows that it takes in a pass.
    pub fn tokens(&self) -> usize {
        self.prompt.len() + self.completion.len()
    }
}

/// The order of one epoch over `count` samples; it depends on nothing but its arguments, so a training resumes from a step number alone.
pub fn order(seed: u64, epoch: u64, count: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch);
    let mut order = (0..count).collect::<Vec<_>>();
    order.shuffle(&mut rng);
    order
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn every_epoch_is_a_permutation_of_its_own() {
        let first = order(7, 0, 50);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(first, order(7, 0, 50));
        assert_ne!(first, order(7, 1, 50));
        assert_ne!(first, order(8, 0, 50));
    }
}
