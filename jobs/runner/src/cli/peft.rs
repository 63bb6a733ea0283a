//! `runner peft`: what engineers who load adapters elsewhere check first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser;
use jobs_lm::batch::PackedBatch;
use jobs_lm::decoder::Decoder;
use jobs_lora::{Bank, RoutedBank, Routing, peft};
use jobs_spec::model::ModelConfig;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Rows of logits that are written per sequence, the last ones.
const ROWS: usize = 8;

/// Read a PEFT adapter, write it again as Quiver does, and compute logits with it.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The base model, in Hugging Face layout.
    model: PathBuf,
    /// The adapter's folder.
    adapter: PathBuf,
    /// Write the adapter to this folder.
    #[arg(long)]
    export: PathBuf,
    /// A safetensors file whose `forward.ids` (i64, `[sequences, length]`) are run through the adapted model.
    #[arg(long, requires = "logits")]
    ids: Option<PathBuf>,
    /// Write `logits` (f32, `[sequences, 8, vocabulary]`, the last eight rows) to this safetensors file.
    #[arg(long, requires = "ids")]
    logits: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let device = jobs_lm::device::parse("cpu")?;
    let config = ModelConfig::from_dir(&args.model)?;
    let adapter = peft::import(&args.adapter, &config)?;
    peft::export(&adapter, &args.model.display().to_string(), &args.export)?;
    if let (Some(ids), Some(out)) = (&args.ids, &args.logits) {
        let decoder = Decoder::load(&args.model, &device)?;
        let mut bank = Bank::new(adapter.shape(), &device);
        let slot = bank.insert(adapter)?;
        let routed = RoutedBank::new(&bank, &Routing::everywhere(vec![(slot, 1.0)]))?;
        let sequences = read_ids(ids)?;
        let mut values = Vec::new();
        for sequence in &sequences {
            decoder.check(sequence)?;
            let mut batch = PackedBatch::new();
            batch.push(sequence, &[]);
            let hidden = decoder.hidden(&batch, &routed);
            let [rows, width] = hidden.dims();
            let logits = decoder.logits(&hidden.slice([rows.saturating_sub(ROWS)..rows, 0..width]));
            values.extend(logits.into_data().try_into_vec::<f32>().map_err(|e| anyhow::anyhow!("{e:?}"))?);
        }
        write_logits(out, &values, sequences.len(), decoder.config().vocab_size)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_ids(path: &Path) -> anyhow::Result<Vec<Vec<u32>>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| path.display().to_string())?;
    let ids = file.tensor("forward.ids").with_context(|| path.display().to_string())?;
    let (&[_, length], Dtype::I64) = (ids.shape(), ids.dtype()) else {
        bail!("{}: forward.ids must be a matrix of i64", path.display());
    };
    let numbers = ids
        .data()
        .chunks_exact(8)
        .map(|b| u32::try_from(i64::from_le_bytes(b.try_into()?)).map_err(anyhow::Error::from));
    let numbers = numbers.collect::<anyhow::Result<Vec<_>>>().with_context(|| path.display().to_string())?;
    Ok(numbers.chunks(length.max(1)).map(<[u32]>::to_vec).collect())
}

fn write_logits(path: &Path, values: &[f32], sequences: usize, vocabulary: usize) -> anyhow::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let rows = values.len() / (sequences * vocabulary).max(1);
    let view = TensorView::new(Dtype::F32, vec![sequences, rows, vocabulary], &bytes)?;
    let file = safetensors::serialize(HashMap::from([("logits", view)]), None)?;
    std::fs::write(path, file).with_context(|| path.display().to_string())
}
