//! The base model by its `config.json`: three decoder families, validated once and then immutable.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A linear projection of a decoder block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// `self_attn.q_proj`
    Q,
    /// `self_attn.k_proj`
    K,
    /// `self_attn.v_proj`
    V,
    /// `self_attn.o_proj`
    O,
    /// `mlp.gate_proj`
    Gate,
    /// `mlp.up_proj`
    Up,
    /// `mlp.down_proj`
    Down,
}

impl Projection {
    /// All projections in the order in which a block applies them.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The module's path inside its layer, as in Hugging Face checkpoints.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }
}

/// Decoder families; they differ in biases and in the norm of queries and keys only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
    /// Qwen3: RMS norm on each head's query and key.
    Qwen3,
    /// Llama 3.x.
    Llama,
}

/// The numbers that a base model's weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// bfloat16; norms, softmax, losses and adapters still compute in f32.
    Bf16,
}

impl Precision {
    /// Both.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|precision| precision.name() == text);
        found.ok_or_else(|| format!("`{text}` is neither f32 nor bf16"))
    }
}

/// How rotary frequencies are stretched for contexts longer than the pretrained one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as they are.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, the band between blended.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original / low` count as low frequencies.
        low: f64,
        /// Wavelengths below `original / high` count as high frequencies.
        high: f64,
        /// Context length of pretraining, in tokens.
        original: usize,
    },
}

/// Rotary position settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the geometric frequency series.
    pub theta: f64,
    /// Stretching of that series.
    pub scaling: RopeScaling,
}

/// Everything that fixes the shape and arithmetic of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Decoder family.
    pub family: Family,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Added to the mean square in every RMS norm.
    pub rms_norm_eps: f64,
    /// Rotary position settings.
    pub rope: Rope,
    /// Longest context of the model in tokens.
    pub max_positions: usize,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Ids that end a generation; may be empty.
    pub eos_ids: Vec<u32>,
    /// Beginning-of-text id, where the model has one.
    pub bos_id: Option<u32>,
    /// Padding id, where the model has one.
    pub pad_id: Option<u32>,
}

/// A field that does not describe a model that this crate runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {problem}")]
pub struct FieldError {
    /// Name as in `config.json`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Why a `config.json` was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error("{}: not a JSON object: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// A field is missing, of the wrong type or not supported.
    #[error("{}: {source}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field and its problem.
        source: FieldError,
    },
}

impl ModelConfig {
    /// Reads `config.json` in a model folder.
    pub fn from_dir(dir: &Path) -> Result<Self, ConfigError> {
        Self::from_file(&dir.join("config.json"))
    }

    /// Reads a file in the form of `config.json`.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let object = read_object(path)?;
        Self::from_object(&object).map_err(|source| ConfigError::Field { path: path.to_owned(), source })
    }

    fn from_object(object: &Map<String, Value>) -> Result<Self, FieldError> {
        let model_type: String = required(object, "model_type")?;
        let family = match model_type.as_str() {
            "qwen2" => Family::Qwen2,
            "qwen3" => Family::Qwen3,
            "llama" => Family::Llama,
            other => return Err(problem("model_type", format!("`{other}` is none of qwen2, qwen3, llama"))),
        };
        refuse_unsupported(object)?;
        let heads: usize = required(object, "num_attention_heads")?;
        let hidden_size: usize = required(object, "hidden_size")?;
        let config = Self {
            family,
            vocab_size: required(object, "vocab_size")?,
            hidden_size,
            intermediate_size: required(object, "intermediate_size")?,
            layers: required(object, "num_hidden_layers")?,
            heads,
            kv_heads: optional(object, "num_key_value_heads")?.unwrap_or(heads),
            head_dim: optional(object, "head_dim")?.unwrap_or(hidden_size / heads.max(1)),
            rms_norm_eps: optional(object, "rms_norm_eps")?.unwrap_or(1e-6),
            rope: rope(object)?,
            max_positions: required(object, "max_position_embeddings")?,
            tie_word_embeddings: optional(object, "tie_word_embeddings")?.unwrap_or(false),
            eos_ids: ids(object, "eos_token_id")?,
            bos_id: optional(object, "bos_token_id")?,
            pad_id: optional(object, "pad_token_id")?,
        };
        config.check()?;
        Ok(config)
    }

    /// Refuses sizes that describe no model.
    pub fn check(&self) -> Result<(), FieldError> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_positions),
        ];
        if let Some((field, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(problem(field, "must be at least 1"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let text = format!("{} does not divide num_attention_heads {}", self.kv_heads, self.heads);
            return Err(problem("num_key_value_heads", text));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(problem(
                "head_dim",
                format!("{} is odd; rotary positions need pairs", self.head_dim),
            ));
        }
        if self.rms_norm_eps.is_nan() || self.rms_norm_eps <= 0.0 {
            return Err(problem("rms_norm_eps", format!("{} is not positive", self.rms_norm_eps)));
        }
        if let Some(id) = self.eos_ids.iter().find(|id| **id as usize >= self.vocab_size) {
            return Err(problem(
                "eos_token_id",
                format!("{id} is outside the vocabulary of {}", self.vocab_size),
            ));
        }
        Ok(())
    }

    /// The configuration as a `config.json` that transformers reads.
    pub fn to_json(&self) -> Value {
        let (model_type, architecture) = match self.family {
            Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Family::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
            Family::Llama => ("llama", "LlamaForCausalLM"),
        };
        let scaling = match self.rope.scaling {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Llama3 { factor, low, high, original } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }),
        };
        let eos = match self.eos_ids.as_slice() {
            [] => Value::Null,
            [id] => json!(id),
            ids => json!(ids),
        };
        json!({
            "architectures": [architecture],
            "model_type": model_type,
            "hidden_act": "silu",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope.theta,
            "rope_scaling": scaling,
            "max_position_embeddings": self.max_positions,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_dropout": 0.0,
            "eos_token_id": eos,
            "bos_token_id": self.bos_id,
            "pad_token_id": self.pad_id,
        })
    }

    /// Input and output width of a projection.
    pub fn dims(&self, projection: Projection) -> (usize, usize) {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        match projection {
            Projection::Q => (hidden, self.heads * self.head_dim),
            Projection::K | Projection::V => (hidden, self.kv_heads * self.head_dim),
            Projection::O => (self.heads * self.head_dim, hidden),
            Projection::Gate | Projection::Up => (hidden, inner),
            Projection::Down => (inner, hidden),
        }
    }

    /// Whether a projection has a bias.
    pub fn has_bias(&self, projection: Projection) -> bool {
        self.family == Family::Qwen2 && matches!(projection, Projection::Q | Projection::K | Projection::V)
    }

    /// Whether each head's query and key are normed.
    pub fn normed_heads(&self) -> bool {
        self.family == Family::Qwen3
    }

    /// Number of weights, a tied head counted once.
    pub fn parameter_count(&self) -> usize {
        let projections: usize = Projection::ALL
            .into_iter()
            .map(|projection| {
                let (input, output) = self.dims(projection);
                input * output + if self.has_bias(projection) { output } else { 0 }
            })
            .sum();
        let head_norms = if self.normed_heads() { 2 * self.head_dim } else { 0 };
        let tables = if self.tie_word_embeddings { 1 } else { 2 };
        let table = self.vocab_size * self.hidden_size;
        self.layers * (projections + head_norms + 2 * self.hidden_size) + tables * table + self.hidden_size
    }

    /// Floating-point operations of one token's forward pass at the end of a context of `length` tokens, head included; a
    /// backward pass without weight gradients costs the same again.
    pub fn flops_per_token(&self, length: usize) -> u64 {
        let projections: usize = Projection::ALL
            .into_iter()
            .map(|projection| self.dims(projection))
            .map(|(input, output)| input * output)
            .sum();
        let attention = 2 * self.heads * self.head_dim * length;
        let products = self.layers * (projections + attention) + self.hidden_size * self.vocab_size;
        2 * products as u64
    }
}

/// Reads a file that holds a JSON object.
pub fn read_object(path: &Path) -> Result<Map<String, Value>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| ConfigError::Json { path: path.to_owned(), source })
}

/// What is wrong with a field.
pub fn problem(field: &'static str, problem: impl Into<String>) -> FieldError {
    FieldError { field, problem: problem.into() }
}

/// A field that may be absent or null.
pub fn optional<T: DeserializeOwned>(
    object: &Map<String, Value>,
    field: &'static str,
) -> Result<Option<T>, FieldError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::deserialize(value).map(Some).map_err(|error| problem(field, error.to_string())),
    }
}

/// A field that must be there.
pub fn required<T: DeserializeOwned>(
    object: &Map<String, Value>,
    field: &'static str,
) -> Result<T, FieldError> {
    optional(object, field)?.ok_or_else(|| problem(field, "missing"))
}

fn ids(object: &Map<String, Value>, field: &'static str) -> Result<Vec<u32>, FieldError> {
    match object.get(field) {
        Some(Value::Array(_)) => required(object, field),
        _ => Ok(optional(object, field)?.into_iter().collect()),
    }
}

/// Settings that change the arithmetic in a way no operation here has.
fn refuse_unsupported(object: &Map<String, Value>) -> Result<(), FieldError> {
    let act: Option<String> = optional(object, "hidden_act")?;
    if let Some(act) = act.filter(|act| act != "silu") {
        return Err(problem("hidden_act", format!("`{act}` is not supported, only `silu`")));
    }
    for field in ["attention_bias", "mlp_bias", "use_sliding_window"] {
        if optional(object, field)?.unwrap_or(false) {
            return Err(problem(field, "`true` is not supported"));
        }
    }
    Ok(())
}

/// Both spellings: `rope_theta` + `rope_scaling`, and the newer `rope_parameters` that holds both.
fn rope(object: &Map<String, Value>) -> Result<Rope, FieldError> {
    let parameters: Option<Map<String, Value>> = optional(object, "rope_parameters")?;
    let scaling: Option<Map<String, Value>> = optional(object, "rope_scaling")?;
    let settings = parameters.or(scaling).unwrap_or_default();
    let theta: f64 = match optional(&settings, "rope_theta")? {
        Some(theta) => theta,
        None => optional(object, "rope_theta")?.unwrap_or(10_000.0),
    };
    if theta.is_nan() || theta <= 1.0 {
        return Err(problem("rope_theta", format!("{theta} is not above 1")));
    }
    let kind: Option<String> = match optional(&settings, "rope_type")? {
        Some(kind) => Some(kind),
        None => optional(&settings, "type")?,
    };
    let scaling = match kind.as_deref() {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: required(&settings, "factor")? },
        Some("llama3") => RopeScaling::Llama3 {
            factor: required(&settings, "factor")?,
            low: required(&settings, "low_freq_factor")?,
            high: required(&settings, "high_freq_factor")?,
            original: required(&settings, "original_max_position_embeddings")?,
        },
        Some(other) => {
            return Err(problem("rope_type", format!("`{other}` is none of default, linear, llama3")));
        }
    };
    Ok(Rope { theta, scaling })
}

#[cfg(test)]
pub(crate) mod tests;
