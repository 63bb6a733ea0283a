//! Choice of the next token from a row of logits, on the host.

use rand::RngExt;
use rand_chacha::ChaCha12Rng;

use crate::generate::GenerationOptions;

/// The next token.
pub(crate) fn sample(logits: &[f32], options: &GenerationOptions, random: &mut ChaCha12Rng) -> u32 {
    if options.temperature <= 0.0 {
        return most_likely(logits);
    }
    let mut candidates: Vec<(u32, f64)> = (0..)
        .zip(logits)
        .map(|(id, logit)| (id, f64::from(*logit) / f64::from(options.temperature)))
        .collect();
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
    candidates.truncate(options.top_k.unwrap_or(usize::MAX).max(1));
    let top = candidates.first().map_or(0.0, |(_, logit)| *logit);
    for (_, weight) in &mut candidates {
        *weight = (*weight - top).exp();
    }
    draw(nucleus(&candidates, options.top_p), random)
}

/// The index of the largest logit, the first of ties.
fn most_likely(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, logit) in (0..).zip(logits) {
        if *logit > best.1 {
            best = (id, *logit);
        }
    }
    best.0
}

/// The fewest candidates, most likely first, whose share of the weight reaches `top_p`.
fn nucleus(candidates: &[(u32, f64)], top_p: f32) -> &[(u32, f64)] {
    let target = f64::from(top_p) * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut reached = 0.0;
    let enough = candidates.iter().position(|(_, weight)| {
        reached += weight;
        reached >= target
    });
    &candidates[..enough.map_or(candidates.len(), |last| last + 1)]
}

/// One of the candidates with a probability in proportion to its weight.
fn draw(candidates: &[(u32, f64)], random: &mut ChaCha12Rng) -> u32 {
    let mut left = random.random::<f64>() * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
    for (id, weight) in candidates {
        left -= weight;
        if left < 0.0 {
            return *id;
        }
    }
    candidates.last().map_or(0, |(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const LOGITS: [f32; 5] = [0.0, 2.0, 1.0, 2.0, -1.0];

    fn drawn(options: &GenerationOptions) -> [usize; 5] {
        let mut random = ChaCha12Rng::seed_from_u64(3);
        let mut counts = [0; 5];
        for _ in 0..4000 {
            counts[sample(&LOGITS, options, &mut random) as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_first_of_ties() {
        let mut random = ChaCha12Rng::seed_from_u64(0);
        assert_eq!(sample(&LOGITS, &GenerationOptions::default(), &mut random), 1);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let counts = drawn(&GenerationOptions { temperature: 1.0, ..Default::default() });
        let weights = LOGITS.map(|logit| f64::from(logit).exp());
        let total: f64 = weights.iter().sum();
        for (count, weight) in counts.into_iter().zip(weights) {
            assert!((count as f64 / 4000.0 - weight / total).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let counts = drawn(&GenerationOptions { temperature: 1.0, top_k: Some(3), ..Default::default() });
        assert!(counts[0] == 0 && counts[4] == 0 && counts[2] > 0);
        let counts = drawn(&GenerationOptions { temperature: 1.0, top_p: 0.5, ..Default::default() });
        assert!(counts[1] > 0 && counts[3] > 0 && counts[0] + counts[2] + counts[4] == 0);
        let counts = drawn(&GenerationOptions { temperature: 1.0, top_p: 0.0, ..Default::default() });
        assert_eq!(counts[1], 4000);
    }
}
