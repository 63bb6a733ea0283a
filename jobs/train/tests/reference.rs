//! Against PyTorch and PEFT: adapters and their mixture on a base, and ten AdamW steps.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use jobs_lm::adapt::Adapters;
use jobs_lm::batch::PackedBatch;
use jobs_lm::decoder::Decoder;
use jobs_lora::{AdamW, Bank, Moments, RoutedBank, Routing, peft};
use safetensors::SafeTensors;

const FAMILIES: [&str; 3] = ["qwen2", "llama3", "qwen3"];

struct Golden {
    tensors: Vec<u8>,
    traces: Vec<(Vec<u32>, Vec<u32>)>,
}

impl Golden {
    fn open(folder: &Path) -> Self {
        let json = std::fs::read(folder.join("golden.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let ids = |value: &serde_json::Value| serde_json::from_value::<Vec<u32>>(value.clone()).unwrap();
        let traces = json["traces"].as_array().unwrap().iter();
        let traces = traces.map(|trace| (ids(&trace["prompt"]), ids(&trace["completion"]))).collect();
        Self { tensors: std::fs::read(folder.join("golden.safetensors")).unwrap(), traces }
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.tensors).unwrap();
        let (quads, _) = tensors.tensor(name).unwrap().data().as_chunks::<4>();
        quads.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// `forward.ids` as two segments.
    fn batch(&self) -> PackedBatch {
        let tensors = SafeTensors::deserialize(&self.tensors).unwrap();
        let ids = tensors.tensor("forward.ids").unwrap();
        let (words, _) = ids.data().as_chunks::<8>();
        let ids = words.iter().map(|bytes| u32::try_from(i64::from_le_bytes(*bytes)).unwrap());
        let mut batch = PackedBatch::new();
        for row in ids.collect::<Vec<_>>().chunks(300) {
            batch.push(row, &[]);
        }
        batch
    }
}

fn distance(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Logits at the last eight positions of every segment.
fn last_logits(base: &Decoder, batch: &PackedBatch, adapters: &dyn Adapters) -> Vec<f32> {
    let hidden = base.hidden(batch, adapters);
    let ends = batch
        .segments()
        .iter()
        .map(|rows| hidden.clone().slice([rows.end - 8..rows.end, 0..hidden.dims()[1]]));
    ends.flat_map(|rows| base.logits(&rows).try_into_vec_as::<f32>().unwrap()).collect()
}

#[test]
fn adapters_and_their_mixture_give_peft_s_logits() {
    let Some(reference) = common::reference() else { return };
    for family in FAMILIES {
        let folder = reference.join(family);
        let golden = Golden::open(&folder);
        let base = Decoder::load(&folder.join("model"), &Device::flex()).unwrap();
        let tools = (0..3).map(|number| {
            peft::import(&folder.join(format!("adapters/tool-{number}")), base.config()).unwrap()
        });
        let tools = tools.collect::<Vec<_>>();
        let mut bank = Bank::new(tools[0].shape(), base.device());
        let slots = tools.into_iter().map(|adapter| bank.insert(adapter).unwrap()).collect::<Vec<_>>();
        let mix = slots.iter().copied().zip([0.6, 0.3, 0.1]).collect();
        let mut cases = vec![("mix.logits_last".to_owned(), mix)];
        cases.extend((0..3).map(|n| (format!("adapter{n}.logits_last"), vec![(slots[n], 1.0)])));
        for (key, candidates) in cases {
            let routed = RoutedBank::new(&bank, &Routing::everywhere(candidates)).unwrap();
            let difference = distance(&last_logits(&base, &golden.batch(), &routed), &golden.floats(&key));
            println!("{family} {key}: {difference:e}");
            assert!(difference < 2e-4, "{family} {key}: {difference}");
        }
    }
}

#[test]
fn ten_steps_end_at_pytorch_s_adapter() {
    let Some(reference) = common::reference() else { return };
    for family in FAMILIES {
        let folder = reference.join(family);
        let golden = Golden::open(&folder);
        let base = Arc::new(Decoder::load(&folder.join("model"), &Device::flex()).unwrap());
        let open = |name: &str| peft::import(&folder.join("adapters").join(name), base.config()).unwrap();
        let start = open("train-start");
        let mut bank = Bank::new(start.shape(), base.device());
        let mut moments = Moments::new(start.values().len());
        let slot = bank.insert(start).unwrap();
        let optimizer = AdamW { lr: 1e-3, ..AdamW::default() };
        let expected = golden.floats("train.losses");
        for ((prompt, completion), expected) in golden.traces.iter().zip(&expected) {
            let mut batch = PackedBatch::new();
            batch.push(prompt, completion);
            let mut routed = RoutedBank::new(&bank, &Routing::everywhere(vec![(slot, 1.0)])).unwrap();
            let loss = base.train_pass(&batch, &mut routed, None)[0];
            assert!((loss / expected - 1.0).abs() < 1e-4, "{family}: loss {loss}, expected {expected}");
            bank.step(slot, &optimizer, optimizer.lr, &routed.into_gradients(), &mut moments).unwrap();
        }
        assert_eq!(moments.steps, 10);
        let difference = distance(bank.adapter(slot).unwrap().values(), open("train-end").values());
        println!("{family} adapter after ten steps: {difference:e}");
        assert!(difference < 1e-4, "{family}: {difference}");
    }
}
