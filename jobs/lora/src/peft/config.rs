//! The settings file: what this program writes, and what it accepts.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{PeftError, module};
use crate::AdapterShape;

/// The fields of `adapter_config.json` that this program writes. PEFT fills in the rest with its defaults.
#[derive(Serialize)]
struct Written<'a> {
    base_model_name_or_path: &'a str,
    bias: &'static str,
    fan_in_fan_out: bool,
    inference_mode: bool,
    init_lora_weights: bool,
    lora_alpha: Value,
    lora_dropout: f32,
    modules_to_save: Option<()>,
    peft_type: &'static str,
    r: usize,
    target_modules: Vec<&'static str>,
    task_type: &'static str,
    use_dora: bool,
    use_rslora: bool,
}

/// The fields that this program reads. The others say how an adapter was trained, or ask for what [`Read::check`] refuses.
#[derive(Deserialize)]
pub(super) struct Read {
    /// Rank.
    pub(super) r: usize,
    /// Alpha.
    pub(super) lora_alpha: f64,
    /// Adapted modules.
    pub(super) target_modules: Vec<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

/// The settings of an adapter of this shape, as JSON text.
pub(super) fn render(shape: &AdapterShape, base_model: &str) -> Result<String, serde_json::Error> {
    let mut target_modules = shape.sites().iter().map(|s| module(s.site.projection)).collect::<Vec<_>>();
    target_modules.sort_unstable();
    target_modules.dedup();
    let written = Written {
        base_model_name_or_path: base_model,
        bias: "none",
        fan_in_fan_out: false,
        inference_mode: true,
        init_lora_weights: true,
        lora_alpha: number(shape.alpha()),
        lora_dropout: 0.0,
        modules_to_save: None,
        peft_type: "LORA",
        r: shape.rank(),
        target_modules,
        task_type: "CAUSAL_LM",
        use_dora: false,
        use_rslora: false,
    };
    serde_json::to_string_pretty(&written)
}

/// PEFT declares alpha an integer, so a whole one is written as such.
fn number(value: f64) -> Value {
    let whole = value as i64;
    if whole as f64 == value { whole.into() } else { value.into() }
}

impl Read {
    /// Reads a settings file.
    pub(super) fn open(file: &Path) -> Result<Self, PeftError> {
        let text = std::fs::read(file).map_err(|cause| PeftError::io(file, cause))?;
        let read: Self = serde_json::from_slice(&text).map_err(|cause| PeftError::malformed(file, cause))?;
        read.check(file)?;
        Ok(read)
    }

    /// Refuses settings under which the same matrices would mean something else.
    fn check(&self, file: &Path) -> Result<(), PeftError> {
        let plain = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        };
        let fields = [
            "alpha_pattern",
            "fan_in_fan_out",
            "layer_replication",
            "lora_bias",
            "modules_to_save",
            "rank_pattern",
            "use_dora",
            "use_rslora",
        ];
        let expected = [("peft_type", "LORA"), ("bias", "none")];
        let plain = fields.map(|field| (field, "nothing (false or empty)", plain));
        for (field, expected, accepts) in plain {
            self.expect(file, field, expected, accepts)?;
        }
        for (field, expected) in expected {
            self.expect(file, field, expected, |value| value == expected)?;
        }
        Ok(())
    }

    fn expect(
        &self,
        file: &Path,
        field: &'static str,
        expected: &'static str,
        accepts: impl Fn(&Value) -> bool,
    ) -> Result<(), PeftError> {
        match self.rest.get(field) {
            Some(value) if !accepts(value) => {
                Err(PeftError::Setting { file: file.to_path_buf(), field, got: value.to_string(), expected })
            }
            _ => Ok(()),
        }
    }
}
