//! What the gate minimises: `CE(α, gold) − λ·H(α)`, and where that leads.

/// Keeps the logarithm of a vanishing weight finite, as in the published code.
const TINY: f64 = 1e-8;

/// One trace's weights and loss, with the loss's gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// `α`, the softmax of the scores.
    pub weights: Vec<f64>,
    /// `−ln α_gold`.
    pub cross_entropy: f64,
    /// `H(α) = −Σ α ln(α + 1e-8)`.
    pub entropy: f64,
    /// `CE − λH`.
    pub loss: f64,
    /// Its derivative by every score.
    pub gradient: Vec<f64>,
}

/// The objective of one trace.
///
/// # Panics
/// When `gold` is no index of `scores`.
pub fn objective(scores: &[f32], gold: usize, lambda: f64) -> Objective {
    let weights = softmax(scores);
    let top = scores.iter().fold(f64::NEG_INFINITY, |top, s| top.max(f64::from(*s)));
    let sum = scores.iter().map(|s| (f64::from(*s) - top).exp()).sum::<f64>();
    let cross_entropy = sum.ln() + top - f64::from(scores[gold]);
    let entropy = -weights.iter().map(|a| a * (a + TINY).ln()).sum::<f64>();
    let slope = |a: f64| -((a + TINY).ln() + a / (a + TINY));
    let mean_slope = weights.iter().map(|a| a * slope(*a)).sum::<f64>();
    let derivative = |(i, a): (usize, &f64)| {
        let target = if i == gold { 1.0 } else { 0.0 };
        a - target - lambda * a * (slope(*a) - mean_slope)
    };
    let gradient = weights.iter().enumerate().map(derivative).collect();
    Objective { cross_entropy, entropy, loss: cross_entropy - lambda * entropy, gradient, weights }
}

/// Softmax in double precision.
pub fn softmax(scores: &[f32]) -> Vec<f64> {
    let top = scores.iter().fold(f64::NEG_INFINITY, |top, s| top.max(f64::from(*s)));
    let exponentials = scores.iter().map(|s| (f64::from(*s) - top).exp()).collect::<Vec<_>>();
    let sum = exponentials.iter().sum::<f64>();
    exponentials.into_iter().map(|e| e / sum).collect()
}

/// The gold weight that perfect separation of `candidates` tools leads to: the `a` with `ln(a(M−1)/(1−a)) = 1/(λa)`.
pub fn ceiling(candidates: usize, lambda: f64) -> f64 {
    if candidates < 2 || lambda <= 0.0 {
        return 1.0;
    }
    let others = (candidates - 1) as f64;
    let excess = |a: f64| (a * others / (1.0 - a)).ln() - 1.0 / (lambda * a);
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if excess(middle) < 0.0 { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_equals_finite_differences() {
        let scores = [0.3f32, -1.2, 2.0, 0.0, -0.5];
        for lambda in [0.0, 0.4, 1.0] {
            let at = objective(&scores, 3, lambda);
            assert!((at.gradient.iter().sum::<f64>()).abs() < 1e-12);
            for i in 0..scores.len() {
                let moved = |by: f32| {
                    let mut scores = scores;
                    scores[i] += by;
                    (f64::from(scores[i]), objective(&scores, 3, lambda).loss)
                };
                let ((low, below), (high, above)) = (moved(-0.01), moved(0.01));
                assert!(
                    ((above - below) / (high - low) - at.gradient[i]).abs() < 1e-4,
                    "λ {lambda}, score {i}"
                );
            }
        }
    }

    #[test]
    fn one_candidate_has_nothing_to_learn() {
        let only = objective(&[7.5], 0, 0.6);
        assert_eq!((only.weights, only.cross_entropy, only.gradient), (vec![1.0], 0.0, vec![0.0]));
        assert!(only.loss.abs() < 1e-7);
    }

    #[test]
    fn ceilings_are_those_of_the_method_notes() {
        let table = [
            (0.2, [0.9935, 0.9875, 0.9819, 0.9717, 0.9626, 0.9544, 0.9470, 0.8866]),
            (0.4, [0.9354, 0.8919, 0.8594, 0.8126, 0.7794, 0.7538, 0.7333, 0.6162]),
            (0.6, [0.8713, 0.8004, 0.7530, 0.6907, 0.6499, 0.6202, 0.5971, 0.4772]),
            (0.8, [0.8209, 0.7333, 0.6781, 0.6090, 0.5656, 0.5349, 0.5115, 0.3956]),
            (1.0, [0.7822, 0.6835, 0.6236, 0.5511, 0.5068, 0.4760, 0.4528, 0.3416]),
        ];
        for (lambda, row) in table {
            for (candidates, expected) in [2, 3, 4, 6, 8, 10, 12, 37].into_iter().zip(row) {
                assert!((ceiling(candidates, lambda) - expected).abs() < 6e-5, "λ {lambda}, {candidates}");
            }
        }
        assert_eq!((ceiling(4, 0.0), ceiling(1, 0.6)), (1.0, 1.0));
    }
}
