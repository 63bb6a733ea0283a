//! The memory plan of a fan: how much one lane takes at its peak, from the base model's sizes, before anything starts.
//!
//! The base model and the slots are there all the time. A pass adds what its backward part reads again, which grows with the tokens and
//! with what is kept ([`Recompute`]), and the few matrices that live at its widest moment: the logits of one chunk of rows, or the
//! feed-forward gradients of the topmost layer.

use std::fmt;
use std::str::FromStr;

use crate::model::ModelConfig;

/// What a pass computes again in its backward part to keep less. It changes time and memory, never a bit of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recompute {
    /// Nothing: everything that the backward part reads is kept.
    Nothing,
    /// Normed rows and SwiGLU products, which cost a pass over memory each.
    Elementwise,
    /// Every layer from its input: half as much work again for a fraction of the memory.
    Layers,
}

impl Recompute {
    /// From the fastest to the smallest.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Elementwise, Self::Layers];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Elementwise => "elementwise",
            Self::Layers => "layers",
        }
    }
}

impl fmt::Display for Recompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Recompute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| format!("`{text}` is none of nothing, elementwise, layers"))
    }
}

/// Where a fan computes: what its numbers take there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// In the machine's memory, f32 throughout; passes are cut into a part for each thread.
    Cpu {
        /// Threads that compute.
        threads: usize,
    },
    /// In a GPU's memory: bf16 base, f32 adapters. The optimiser's state stays in the machine's memory.
    Cuda,
}

impl Engine {
    /// Bytes of a weight of the base, and of a number between its operations.
    const fn number(self) -> u64 {
        match self {
            Self::Cpu { .. } => 4,
            Self::Cuda => 2,
        }
    }

    /// Bytes of an adapter's parameter in its slot: weight, its copy to multiply with, and two moments; on a GPU the copy alone.
    const fn slot_number(self) -> u64 {
        match self {
            Self::Cpu { .. } => 16,
            Self::Cuda => 4,
        }
    }

    /// Bytes of the process before a model is loaded: program, threads, buffers of matrix products; a GPU's context.
    const fn process(self) -> u64 {
        match self {
            Self::Cpu { .. } => 16 << 20,
            Self::Cuda => 600 << 20,
        }
    }

    fn parts(self) -> u64 {
        match self {
            Self::Cpu { threads } => threads.max(1) as u64,
            Self::Cuda => 1,
        }
    }
}

/// Numbers of the logits that are in memory at once, for each part of a pass.
const LOGITS_NUMBERS: usize = 1 << 23;

/// Rows of the logits that are in memory at once.
pub fn logits_rows(vocabulary: usize) -> usize {
    (LOGITS_NUMBERS / vocabulary.max(1)).max(64)
}

/// Everything that decides how much memory a fan takes.
#[derive(Clone, Debug)]
pub struct FanSizes<'a> {
    /// The base model.
    pub model: &'a ModelConfig,
    /// Rank of the adapters of gate, up and down.
    pub rank: usize,
    /// Adapters trained together.
    pub slots: usize,
    /// Token budget of a pass.
    pub tokens_per_pass: usize,
    /// Tokens of the longest trace; one beyond the budget has a pass of its own.
    pub longest: usize,
    /// Where it computes.
    pub engine: Engine,
}

impl FanSizes<'_> {
    /// Tokens of the largest pass that can come.
    pub fn pass_tokens(&self) -> usize {
        self.tokens_per_pass.min(self.slots.saturating_mul(self.longest)).max(self.longest)
    }

    /// Bytes of the base model.
    pub fn base(&self) -> u64 {
        self.model.parameter_count() as u64 * self.engine.number()
    }

    /// Bytes of the slots.
    pub fn bank(&self) -> u64 {
        self.slots as u64 * self.adapter_parameters() * self.engine.slot_number()
    }

    /// Bytes that the largest pass adds at its peak.
    pub fn pass(&self, recompute: Recompute) -> u64 {
        let Widths { kept, head, top } = self.widths(recompute);
        let rows = |numbers: u64| self.pass_tokens() as u64 * numbers * self.engine.number();
        // When the activations are gone again, every slot has its gradient, and a few slots step.
        let update = (self.slots as u64 + 2 * self.parts()) * self.adapter_parameters() * 4;
        // Parts of a pass are in different places at a time, and a chunk of logits leaves a gap that rows do not fill: both count.
        (rows(kept + head.max(top)) + self.logits()).max(update)
    }

    /// Bytes at the peak.
    pub fn total(&self, recompute: Recompute) -> u64 {
        self.engine.process() + self.base() + self.bank() + self.pass(recompute)
    }

    /// The fastest policy whose peak fits into `available` bytes.
    ///
    /// # Errors
    /// When none does; with what would.
    pub fn fit(&self, available: u64) -> Result<Recompute, TooLarge> {
        let fits = |sizes: &Self, policy| sizes.total(policy) <= available;
        let found = Recompute::ALL.into_iter().find(|policy| fits(self, *policy));
        found.ok_or_else(|| TooLarge {
            needed: self.total(Recompute::Layers),
            available,
            slots: self.slots,
            pass_tokens: self.pass_tokens(),
            longest: self.longest,
            fitting_slots: largest(self.slots, |slots| {
                fits(&Self { slots, ..self.clone() }, Recompute::Layers)
            }),
            fitting_tokens: largest(self.pass_tokens(), |tokens| {
                let sizes =
                    Self { tokens_per_pass: tokens, longest: tokens.min(self.longest), ..self.clone() };
                fits(&sizes, Recompute::Layers)
            }),
        })
    }

    fn adapter_parameters(&self) -> u64 {
        let per_layer = 3 * self.rank * (self.model.hidden_size + self.model.intermediate_size);
        (self.model.layers * per_layer) as u64
    }

    fn parts(&self) -> u64 {
        self.engine.parts().min(self.slots as u64)
    }

    fn widths(&self, recompute: Recompute) -> Widths {
        let ModelConfig { hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, .. } =
            self.model;
        let (hidden, inner, layers) = (*hidden_size as u64, *intermediate_size as u64, *layers as u64);
        let (queries, keys) = ((heads * head_dim) as u64, (kv_heads * head_dim) as u64);
        let head_norms = if self.model.normed_heads() { queries + keys } else { 0 };
        // Inputs of both norms with a factor each; rotated queries, keys and values; what attention gave; gate and up.
        let lean = 2 * (hidden + 1) + 2 * queries + 2 * keys + head_norms + 2 * inner;
        // The normed rows that gate and up read, and the SwiGLU product.
        let whole = lean + hidden + inner;
        let (kept, again) = match recompute {
            Recompute::Nothing => (layers * whole, 0),
            Recompute::Elementwise => (layers * lean, inner),
            // The input of the topmost layer is kept already.
            Recompute::Layers => (layers * hidden, whole - hidden),
        };
        Widths { kept: kept + *head_dim as u64, head: 2 * hidden, top: again + hidden + inner }
    }

    /// Bytes of logits and of the rows that they come from, a chunk for each part. A quarter of a trace is its call.
    fn logits(&self) -> u64 {
        let vocabulary = self.model.vocab_size;
        let parts = self.parts();
        let learnt = (self.pass_tokens() as u64 / 4).div_ceil(parts);
        let rows = learnt.min(logits_rows(vocabulary) as u64);
        parts * rows * (vocabulary + self.model.hidden_size) as u64 * 4
    }
}

/// Numbers of a token in a pass.
struct Widths {
    /// Kept from the forward part on, with the angles of its position.
    kept: u64,
    /// At the head besides: the last rows and their norm.
    head: u64,
    /// In the topmost layer besides: what is computed again, the gradient from above and that of the SwiGLU product.
    top: u64,
}

/// The largest number below `limit` for which something holds that holds for all smaller ones; 0 for none.
fn largest(limit: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, limit);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

/// A fan that does not fit, however much it computes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge {
    needed: u64,
    available: u64,
    slots: usize,
    pass_tokens: usize,
    longest: usize,
    /// Slots that would fit; 0 for none.
    pub fitting_slots: usize,
    /// Tokens a pass that would fit with all slots; 0 for none.
    pub fitting_tokens: usize,
}

impl std::error::Error for TooLarge {}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, available, slots, pass_tokens, longest, fitting_slots, fitting_tokens } = self;
        write!(
            f,
            "{slots} slots and passes of {pass_tokens} tokens need {} with every layer computed again, {} are there; ",
            Bytes(*needed),
            Bytes(*available)
        )?;
        match (fitting_tokens >= longest, fitting_slots) {
            (true, 0) => write!(f, "tokens_per_pass: {fitting_tokens} would fit"),
            (true, _) => {
                write!(f, "tokens_per_pass: {fitting_tokens} or slots: {fitting_slots} would fit")
            }
            (false, 1..) => write!(f, "slots: {fitting_slots} would fit"),
            (false, 0) if *fitting_tokens > 0 => {
                write!(f, "the longest trace has {longest} tokens, {fitting_tokens} would fit")
            }
            (false, 0) => write!(f, "not even one slot would fit"),
        }
    }
}

/// A number of bytes for people.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 as f64 / f64::from(1 << 20) {
            mib if mib < 1024.0 => write!(f, "{mib:.0} MiB"),
            mib => write!(f, "{:.1} GiB", mib / 1024.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::tests::qwen25_7b;

    fn sizes(model: &ModelConfig, slots: usize, tokens_per_pass: usize, engine: Engine) -> FanSizes<'_> {
        FanSizes { model, rank: 16, slots, tokens_per_pass, longest: 512, engine }
    }

    #[test]
    fn kept_numbers_of_a_large_model_are_those_of_the_design() {
        // 151.6 and 106.6 KB a token and layer in bf16, 7.2 KB for the layers' inputs alone (Qwen2.5-7B).
        let model = qwen25_7b();
        let sizes = sizes(&model, 1, 4096, Engine::Cuda);
        let kept = |policy| sizes.widths(policy).kept as f64 * 2.0 / 28.0 / 1000.0;
        assert!((kept(Recompute::Nothing) / 151.6 - 1.0).abs() < 0.01, "{}", kept(Recompute::Nothing));
        assert!(
            (kept(Recompute::Elementwise) / 106.6 - 1.0).abs() < 0.01,
            "{}",
            kept(Recompute::Elementwise)
        );
        assert!((kept(Recompute::Layers) / 7.2 - 1.0).abs() < 0.01, "{}", kept(Recompute::Layers));
        assert_eq!(sizes.base(), 2 * 7_615_616_512);
        assert_eq!(sizes.adapter_parameters(), 30_277_632);
    }

    #[test]
    fn a_fan_that_does_not_fit_is_told_what_would() {
        let model = qwen25_7b();
        let large = sizes(&model, 64, 8192, Engine::Cuda);
        let told = |gib: u64| large.fit(gib << 30).unwrap_err().to_string();
        assert_eq!(
            told(24),
            "64 slots and passes of 8192 tokens need 29.4 GiB with every layer computed again, 24.0 GiB are there; \
             slots: 39 would fit"
        );
        assert!(told(15).ends_with("not even one slot would fit"));
        let small = FanSizes { slots: 4, longest: 100_000, ..large.clone() };
        let told = small.fit(24 << 30).unwrap_err().to_string();
        assert!(told.contains("the longest trace has 100000 tokens, "), "{told}");
        assert_eq!(large.fit(80 << 30), Ok(Recompute::Nothing));
        assert_eq!(Bytes(1_600_000_000).to_string(), "1.5 GiB");
    }

    proptest! {
        #[test]
        fn what_is_said_to_fit_fits(
            slots in 1_usize..200,
            tokens in 1_usize..20_000,
            longest in 1_usize..9_000,
            threads in 0_usize..9,
            gib in 10_u64..120,
        ) {
            let model = qwen25_7b();
            let engine = if threads == 0 { Engine::Cuda } else { Engine::Cpu { threads } };
            let sizes = FanSizes { longest, ..sizes(&model, slots, tokens, engine) };
            let available = gib << 30;
            prop_assert!(sizes.total(Recompute::Layers) <= sizes.total(Recompute::Elementwise));
            prop_assert!(sizes.total(Recompute::Elementwise) <= sizes.total(Recompute::Nothing));
            match sizes.fit(available) {
                Ok(policy) => prop_assert!(sizes.total(policy) <= available),
                Err(refused) => {
                    let total = |slots| FanSizes { slots, ..sizes.clone() }.total(Recompute::Layers);
                    prop_assert!(refused.fitting_slots < slots);
                    prop_assert!(refused.fitting_slots == 0 || total(refused.fitting_slots) <= available);
                    prop_assert!(total(refused.fitting_slots + 1) > available);
                }
            }
        }
    }
}
