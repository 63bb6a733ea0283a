//! What is scored: variants, categories, generation.

use serde::{Deserialize, Serialize};

use crate::category::Category;

/// What is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Categories; all that the dataset has by default.
    pub categories: Option<Vec<Category>>,
    /// What is compared.
    pub variants: Vec<Variant>,
    /// How text is generated.
    pub generation: Generation,
    /// Score at most this many entries of each category, the first ones.
    pub limit: Option<usize>,
}

impl Default for Evaluate {
    fn default() -> Self {
        Self {
            categories: None,
            variants: vec![
                Variant::base(),
                Variant::soft(),
                Variant::top1(),
                Variant::average(),
                Variant::oracle(),
            ],
            generation: Generation::default(),
            limit: None,
        }
    }
}

/// One way of using adapters, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Row name in the table.
    pub name: String,
    /// Which adapters.
    #[serde(default = "finetuned")]
    pub adapters: AdapterSet,
    /// How the candidates' adapters are weighed.
    #[serde(default = "gate_policy")]
    pub weights: Weights,
    /// Put the candidates' documents into the prompt.
    #[serde(default)]
    pub documents: bool,
}

fn finetuned() -> AdapterSet {
    AdapterSet::Finetuned
}

fn gate_policy() -> Weights {
    Weights::Gate
}

impl Variant {
    /// The base model without adapters or documents.
    pub fn base() -> Self {
        Self::new("base", AdapterSet::None, Weights::Uniform)
    }

    /// The method: finetuned adapters under the gate's weights.
    pub fn soft() -> Self {
        Self::new("soft", AdapterSet::Finetuned, Weights::Gate)
    }

    /// Only the gate's first choice.
    pub fn top1() -> Self {
        Self::new("top1", AdapterSet::Finetuned, Weights::Top1)
    }

    /// Equal weights.
    pub fn average() -> Self {
        Self::new("average", AdapterSet::Finetuned, Weights::Uniform)
    }

    /// Only the gold tool's adapter.
    pub fn oracle() -> Self {
        Self::new("oracle", AdapterSet::Finetuned, Weights::Oracle)
    }

    fn new(name: &str, adapters: AdapterSet, weights: Weights) -> Self {
        Self { name: name.to_owned(), adapters, weights, documents: false }
    }
}

/// Which adapters a variant uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterSet {
    /// None.
    None,
    /// Those of stage 1.
    Pretrained,
    /// Those of stage 3.
    Finetuned,
}

/// How the candidates' adapters are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// The gate's softmax.
    Gate,
    /// One for the gate's first choice.
    Top1,
    /// Equal.
    Uniform,
    /// One for the gold tool of the step.
    Oracle,
}

/// How text is generated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Generation {
    /// 0 is greedy.
    pub temperature: f64,
    /// Keep the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens with this probability.
    pub top_p: f64,
    /// Longest answer of one step.
    pub max_new_tokens: usize,
    /// Runs with different seeds; scores are pooled and reported per run.
    pub seeds: Vec<u64>,
}

impl Default for Generation {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 50, top_p: 1.0, max_new_tokens: 1_024, seeds: vec![0] }
    }
}
