//! `verify`: recomputes what transformers, peft and torch computed for a reference folder, and says how far apart the two are.
//!
//! A reference folder holds `golden.json`, `golden.safetensors`, `model/` and, for decoders, `adapters/`. A folder of such folders is
//! verified one by one.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jobs_lm::Rows;
use jobs_lm::adapt::{Adapters, NoAdapters};
use jobs_lm::batch::PackedBatch;
use jobs_lm::bert::{Encoder, Pooling};
use jobs_lm::decoder::Decoder;
use jobs_lm::device::{self, Device};
use jobs_lm::generate::{GenerationOptions, generate_all};
use jobs_lm::pool;
use jobs_lora::{AdamW, Bank, Moments, RoutedBank, Routing, peft};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

/// What a key may differ by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tolerance {
    /// The largest absolute difference.
    Absolute(f64),
    /// The largest difference relative to the expected value.
    Relative(f64),
}

const HIDDEN: Tolerance = Tolerance::Absolute(2e-4);
const LOSSES: Tolerance = Tolerance::Relative(1e-4);
const TRAINED: Tolerance = Tolerance::Absolute(1e-4);
const EMBEDDINGS: Tolerance = Tolerance::Absolute(2e-5);
const TOKENS: Tolerance = Tolerance::Absolute(0.0);

/// The ten AdamW steps of the reference, as its `golden.json` describes them.
const OPTIMIZER: AdamW =
    AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: None };

/// How one key of a reference compares.
#[derive(Debug, Serialize)]
pub(crate) struct KeyReport {
    /// Name of the reference folder.
    pub(crate) reference: String,
    /// The key, as in `golden.json`.
    pub(crate) key: String,
    /// Numbers compared.
    pub(crate) values: usize,
    /// Largest absolute difference; infinite when a number is not finite or the counts differ.
    pub(crate) absolute: f64,
    /// Largest difference relative to the expected value.
    pub(crate) relative: f64,
    /// What it may differ by.
    pub(crate) tolerance: Tolerance,
    /// Whether it is within the tolerance.
    pub(crate) passed: bool,
}

impl KeyReport {
    fn new(reference: &str, key: &str, got: &[f32], expected: &[f32], tolerance: Tolerance) -> Self {
        let (mut absolute, mut relative) = (0.0_f64, 0.0_f64);
        for (got, expected) in got.iter().zip(expected) {
            let (got, expected) = (f64::from(*got), f64::from(*expected));
            let difference = if got.is_finite() { (got - expected).abs() } else { f64::INFINITY };
            absolute = absolute.max(difference);
            relative = relative.max(if difference == 0.0 { 0.0 } else { difference / expected.abs() });
        }
        if got.len() != expected.len() {
            (absolute, relative) = (f64::INFINITY, f64::INFINITY);
        }
        let passed = match tolerance {
            Tolerance::Absolute(most) => absolute <= most,
            Tolerance::Relative(most) => relative <= most,
        };
        let (reference, key, values) = (reference.to_owned(), key.to_owned(), expected.len());
        Self { reference, key, values, absolute, relative, tolerance, passed }
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "ok  " } else { "FAIL" };
        let Self { reference, key, values, absolute, relative, .. } = self;
        let allowed = match self.tolerance {
            Tolerance::Absolute(most) => format!("absolute ≤ {most:.0e}"),
            Tolerance::Relative(most) => format!("relative ≤ {most:.0e}"),
        };
        write!(
            f,
            "{verdict} {reference:<8} {key:<22} {values:>7} values  absolute {absolute:.1e}  relative {relative:.1e}  ({allowed})"
        )
    }
}

/// How a reference compares, key by key. Its text form is one line per key.
#[derive(Debug, Serialize)]
pub(crate) struct VerifyReport {
    /// All keys, in the order in which they were computed.
    pub(crate) keys: Vec<KeyReport>,
}

impl VerifyReport {
    /// Whether every key is within its tolerance.
    pub(crate) fn passed(&self) -> bool {
        self.keys.iter().all(|key| key.passed)
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keys.iter().try_for_each(|key| writeln!(f, "{key}"))
    }
}

/// Recomputes a reference folder, or every reference folder in `dir`.
///
/// # Errors
/// When files are missing or damaged; values that differ are no error but a report that has not passed.
pub(crate) fn verify(dir: &Path) -> Result<VerifyReport> {
    let mut keys = Vec::new();
    for folder in references(dir)? {
        let reference = Reference::open(folder)?;
        let found = match reference.golden.family.as_str() {
            "bert" => reference.encoder(),
            _ => reference.decoder(),
        };
        keys.extend(found.with_context(|| format!("cannot verify {}", reference.dir.display()))?);
    }
    Ok(VerifyReport { keys })
}

fn references(dir: &Path) -> Result<Vec<PathBuf>> {
    let is_reference = |dir: &Path| dir.join("golden.json").is_file();
    if is_reference(dir) {
        return Ok(vec![dir.to_owned()]);
    }
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let entries: Vec<_> = entries.collect::<std::io::Result<_>>()?;
    let mut folders: Vec<_> =
        entries.iter().map(fs::DirEntry::path).filter(|path| is_reference(path)).collect();
    ensure!(
        !folders.is_empty(),
        "{}: neither a reference folder nor one of such: no golden.json",
        dir.display()
    );
    folders.sort();
    Ok(folders)
}

/// `golden.json`.
#[derive(Deserialize)]
struct Golden {
    family: String,
    #[serde(default)]
    traces: Vec<Trace>,
    greedy: Option<Greedy>,
    #[serde(default)]
    mix_weights: Vec<f32>,
}

#[derive(Deserialize)]
struct Trace {
    prompt: Vec<u32>,
    completion: Vec<u32>,
}

#[derive(Deserialize)]
struct Greedy {
    tokens: Vec<Vec<u32>>,
}

struct Reference {
    dir: PathBuf,
    name: String,
    device: Device,
    golden: Golden,
    tensors: Vec<u8>,
}

impl Reference {
    fn open(dir: PathBuf) -> Result<Self> {
        let read = |file: &str| {
            let path = dir.join(file);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let golden = serde_json::from_slice(&read("golden.json")?)
            .with_context(|| format!("{} is damaged", dir.join("golden.json").display()))?;
        let name =
            dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into());
        Ok(Self { tensors: read("golden.safetensors")?, golden, name, device: device::parse("cpu")?, dir })
    }

    /// Calls `read` on a tensor of `golden.safetensors`.
    fn with<T>(&self, key: &str, read: impl FnOnce(TensorView<'_>) -> T) -> Result<T> {
        let tensors = SafeTensors::deserialize(&self.tensors).context("golden.safetensors is damaged")?;
        Ok(read(tensors.tensor(key).with_context(|| format!("golden.safetensors: no tensor `{key}`"))?))
    }

    fn floats(&self, key: &str) -> Result<Vec<f32>> {
        self.with(key, |view| {
            view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        })
    }

    /// Rows of token ids or of mask bits.
    fn ids(&self, key: &str) -> Result<Vec<Vec<u32>>> {
        let (ids, width) = self.with(key, |view| {
            let words = view.data().as_chunks::<8>().0.iter();
            let ids: Result<Vec<u32>, _> =
                words.map(|bytes| u32::try_from(i64::from_le_bytes(*bytes))).collect();
            (ids, view.shape().last().copied().unwrap_or(0).max(1))
        })?;
        let ids = ids.with_context(|| format!("golden.safetensors: `{key}` holds a number that is no id"))?;
        Ok(ids.chunks(width).map(<[u32]>::to_vec).collect())
    }

    fn compare(&self, key: &str, got: &[f32], tolerance: Tolerance) -> Result<KeyReport> {
        Ok(KeyReport::new(&self.name, key, got, &self.floats(key)?, tolerance))
    }

    fn encoder(&self) -> Result<Vec<KeyReport>> {
        let encoder = Encoder::load(&self.dir.join("model"), &self.device)?;
        let (ids, mask) = (self.ids("ids")?, self.ids("mask")?);
        let real = |(ids, mask): (&Vec<u32>, &Vec<u32>)| -> Vec<u32> {
            ids.iter().zip(mask).filter(|(_, real)| **real == 1).map(|(id, _)| *id).collect()
        };
        let texts: Vec<Vec<u32>> = ids.iter().zip(&mask).map(real).collect();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        [(Pooling::Cls, "cls"), (Pooling::Mean, "mean")]
            .into_iter()
            .map(|(pooling, key)| {
                self.compare(key, &numbers(encoder.embed(&texts, pooling, true)?)?, EMBEDDINGS)
            })
            .collect()
    }

    fn decoder(&self) -> Result<Vec<KeyReport>> {
        let base = Decoder::load(&self.dir.join("model"), &self.device)?;
        let mut keys = self.forward(&base)?;
        keys.push(self.losses(&base)?);
        keys.push(self.greedy(&base)?);
        keys.extend(self.adapters(&base)?);
        keys.extend(self.training(&base)?);
        Ok(keys)
    }

    fn forward(&self, base: &Decoder) -> Result<Vec<KeyReport>> {
        let batch = self.batch()?;
        let hidden = base.hidden(&batch, &NoAdapters);
        let last = numbers(pool::last(&hidden, batch.segments()))?;
        Ok(vec![
            self.compare("forward.logits_last", &last_logits(base, &batch, &hidden)?, HIDDEN)?,
            self.compare("forward.hidden_last", &last, HIDDEN)?,
        ])
    }

    /// `forward.ids`, one segment per row.
    fn batch(&self) -> Result<PackedBatch> {
        let mut batch = PackedBatch::new();
        for ids in self.ids("forward.ids")? {
            ensure!(
                ids.len() >= 8,
                "golden.safetensors: `forward.ids` has rows of {} ids, expected 8 or more",
                ids.len()
            );
            batch.push(&ids, &[]);
        }
        Ok(batch)
    }

    fn losses(&self, base: &Decoder) -> Result<KeyReport> {
        let mut batch = PackedBatch::new();
        for trace in &self.golden.traces {
            batch.push(&trace.prompt, &trace.completion);
        }
        base.check(batch.ids())?;
        self.compare("traces.loss", &base.losses(&batch, &NoAdapters), LOSSES)
    }

    fn greedy(&self, base: &Decoder) -> Result<KeyReport> {
        let expected = &self.golden.greedy.as_ref().context("golden.json: no `greedy`")?.tokens;
        let prompts: Vec<&[u32]> =
            self.golden.traces.iter().take(expected.len()).map(|trace| trace.prompt.as_slice()).collect();
        let options =
            GenerationOptions { max_new_tokens: 24, stop_ids: vec![2], ..GenerationOptions::default() };
        let generated = generate_all(base, &prompts, &NoAdapters, &options)?;
        let got: Vec<f32> = generated
            .iter()
            .flat_map(|text| text.ids.iter().chain(&text.stopped))
            .map(|id| *id as f32)
            .collect();
        let expected: Vec<f32> = expected.iter().flatten().map(|id| *id as f32).collect();
        Ok(KeyReport::new(&self.name, "greedy", &got, &expected, TOKENS))
    }

    fn adapter(&self, name: &str, base: &Decoder) -> Result<jobs_lora::Adapter> {
        Ok(peft::import(&self.dir.join("adapters").join(name), base.config())?)
    }

    /// Each adapter alone, then their weighted mixture.
    fn adapters(&self, base: &Decoder) -> Result<Vec<KeyReport>> {
        let weights = &self.golden.mix_weights;
        let tools: Vec<_> =
            (0..weights.len()).map(|k| self.adapter(&format!("tool-{k}"), base)).collect::<Result<_>>()?;
        let Some(first) = tools.first() else { bail!("golden.json: no `mix_weights`") };
        let mut bank = Bank::new(first.shape(), &self.device);
        let slots: Vec<_> = tools.into_iter().map(|tool| bank.insert(tool)).collect::<Result<_, _>>()?;
        let alone =
            slots.iter().enumerate().map(|(k, slot)| (format!("adapter{k}.logits_last"), vec![(*slot, 1.0)]));
        let mix = slots.iter().copied().zip(weights.iter().copied()).collect();
        let batch = self.batch()?;
        alone
            .chain([("mix.logits_last".to_owned(), mix)])
            .map(|(key, candidates)| {
                let adapters = RoutedBank::new(&bank, &Routing::everywhere(candidates))?;
                let hidden = base.hidden(&batch, &adapters as &dyn Adapters);
                self.compare(&key, &last_logits(base, &batch, &hidden)?, HIDDEN)
            })
            .collect()
    }

    /// AdamW steps on one trace each: the losses before them and the adapter after the last.
    fn training(&self, base: &Decoder) -> Result<Vec<KeyReport>> {
        let start = self.adapter("train-start", base)?;
        let mut moments = Moments::new(start.values().len());
        let mut bank = Bank::new(start.shape(), &self.device);
        let slot = bank.insert(start)?;
        let steps = self.floats("train.losses")?.len();
        let mut losses = Vec::with_capacity(steps);
        for trace in self.golden.traces.iter().take(steps) {
            let mut batch = PackedBatch::new();
            batch.push(&trace.prompt, &trace.completion);
            let mut adapters = RoutedBank::new(&bank, &Routing::everywhere(vec![(slot, 1.0)]))?;
            losses.extend(base.train_pass(&batch, &mut adapters, None));
            bank.step(slot, &OPTIMIZER, OPTIMIZER.lr, &adapters.into_gradients(), &mut moments)?;
        }
        let end = self.adapter("train-end", base)?;
        let trained = bank.adapter(slot)?.values();
        Ok(vec![
            self.compare("train.losses", &losses, LOSSES)?,
            KeyReport::new(&self.name, "train-end", trained, end.values(), TRAINED),
        ])
    }
}

fn numbers(rows: Rows) -> Result<Vec<f32>> {
    Ok(rows.try_into_vec_as::<f32>()?)
}

/// Logits at the last 8 positions of every segment.
fn last_logits(base: &Decoder, batch: &PackedBatch, hidden: &Rows) -> Result<Vec<f32>> {
    let tails = batch.segments().iter().map(|rows| hidden.clone().slice(rows.end - 8..rows.end)).collect();
    numbers(base.logits(&Rows::cat(tails, 0)))
}

#[cfg(test)]
mod tests;
