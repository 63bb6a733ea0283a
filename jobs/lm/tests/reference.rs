//! Forward pass, losses, greedy generation and embeddings against values of transformers (`shared/reference/make_reference.py`).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use jobs_lm::Rows;
use jobs_lm::adapt::NoAdapters;
use jobs_lm::batch::PackedBatch;
use jobs_lm::bert::{Encoder, Pooling};
use jobs_lm::decoder::Decoder;
use jobs_lm::device;
use jobs_lm::generate::{GenerationOptions, generate, generate_all};
use jobs_lm::pool;
use safetensors::SafeTensors;
use serde::Deserialize;

const FAMILIES: [&str; 3] = ["qwen2", "llama3", "qwen3"];

#[derive(Deserialize)]
struct Golden {
    traces: Vec<Trace>,
    greedy: Greedy,
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

/// The folder of reference checkpoints, or `None` after saying that it is absent.
fn reference(family: &str) -> Option<PathBuf> {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/reference")).join(family);
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} not found", dir.display());
    println!("skipped: {} not found", dir.display());
    None
}

fn tensor(dir: &Path, key: &str) -> Vec<f32> {
    let bytes = std::fs::read(dir.join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor(key).unwrap().data();
    data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn ids(dir: &Path, key: &str) -> Vec<u32> {
    let bytes = std::fs::read(dir.join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor(key).unwrap().data();
    data.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as u32).collect()
}

fn golden(dir: &Path) -> Golden {
    serde_json::from_slice(&std::fs::read(dir.join("golden.json")).unwrap()).unwrap()
}

fn load(dir: &Path) -> Decoder {
    Decoder::load(&dir.join("model"), &device::parse("cpu").unwrap()).unwrap()
}

fn assert_close(got: Rows, expected: &[f32], tolerance: f32, what: &str) {
    let got = got.into_data().try_into_vec::<f32>().unwrap();
    assert_eq!(got.len(), expected.len(), "{what}");
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{what}: largest difference {worst:e}");
    assert!(worst <= tolerance, "{what}: largest difference {worst:e}");
}

#[test]
fn forward() {
    for family in FAMILIES {
        let Some(dir) = reference(family) else { return };
        let decoder = load(&dir);
        let mut batch = PackedBatch::new();
        for sequence in ids(&dir, "forward.ids").chunks(300) {
            batch.push(sequence, &[]);
        }
        let hidden = decoder.hidden(&batch, &NoAdapters);
        let last = pool::last(&hidden, batch.segments());
        assert_close(last, &tensor(&dir, "forward.hidden_last"), 2e-4, &format!("{family} hidden"));
        let tails =
            batch.segments().iter().map(|rows| hidden.clone().slice(rows.end - 8..rows.end)).collect();
        let logits = decoder.logits(&Rows::cat(tails, 0));
        assert_close(logits, &tensor(&dir, "forward.logits_last"), 2e-4, &format!("{family} logits"));
    }
}

#[test]
fn losses() {
    for family in FAMILIES {
        let Some(dir) = reference(family) else { return };
        let decoder = load(&dir);
        let mut batch = PackedBatch::new();
        for trace in &golden(&dir).traces {
            batch.push(&trace.prompt, &trace.completion);
        }
        for (got, expected) in decoder.losses(&batch, &NoAdapters).iter().zip(tensor(&dir, "traces.loss")) {
            assert!((got - expected).abs() <= 1e-4 * expected.abs(), "{family}: {got} for {expected}");
        }
    }
}

#[test]
fn greedy() {
    for family in FAMILIES {
        let Some(dir) = reference(family) else { return };
        let decoder = load(&dir);
        let golden = golden(&dir);
        let options = GenerationOptions { max_new_tokens: 24, stop_ids: vec![2], ..Default::default() };
        let prompts: Vec<&[u32]> = golden
            .traces
            .iter()
            .zip(&golden.greedy.tokens)
            .map(|(trace, _)| trace.prompt.as_slice())
            .collect();
        let together = generate_all(&decoder, &prompts, &NoAdapters, &options).unwrap();
        for ((prompt, expected), together) in prompts.iter().zip(&golden.greedy.tokens).zip(together) {
            let alone = generate(&decoder, prompt, &NoAdapters, &options).unwrap();
            assert_eq!(alone, together, "{family}");
            let mut tokens = alone.ids;
            tokens.extend(alone.stopped);
            assert_eq!(&tokens, expected, "{family}");
        }
    }
}

#[test]
fn bert() {
    let Some(dir) = reference("bert") else { return };
    let encoder = Encoder::load(&dir.join("model"), &device::parse("cpu").unwrap()).unwrap();
    let (ids, mask) = (ids(&dir, "ids"), ids(&dir, "mask"));
    let texts: Vec<&[u32]> = ids
        .chunks(40)
        .zip(mask.chunks(40))
        .map(|(ids, mask)| &ids[..mask.iter().filter(|real| **real == 1).count()])
        .collect();
    for (pooling, key) in [(Pooling::Cls, "cls"), (Pooling::Mean, "mean")] {
        let embedded = encoder.embed(&texts, pooling, true).unwrap();
        assert_close(embedded, &tensor(&dir, key), 2e-5, key);
    }
}
