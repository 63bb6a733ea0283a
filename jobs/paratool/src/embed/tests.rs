#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::path::PathBuf;

use burn::tensor::Device;
use jobs_lora::{Bank, RoutedBank, Routing};

use super::*;
use crate::testing::world;

/// Expected vectors are those of one text alone in a pass.
fn near(got: &[f32], expected: &[f32]) {
    assert!(got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn a_packed_encoding_is_that_of_each_text_alone() {
    let world = world();
    for trace in &world.set.traces {
        let alone = world.encoder.encode(&trace.question).unwrap();
        near(world.embeddings.vector(&trace.question).unwrap(), &alone);
    }
    for tool in &world.set.tools {
        near(
            world.embeddings.vector(&document(tool)).unwrap(),
            &world.encoder.encode(&document(tool)).unwrap(),
        );
    }
    // Twelve questions and four documents, none of them twice.
    assert_eq!((world.embeddings.len(), world.embeddings.dimension()), (16, 24));
    let error = world.embeddings.vector("never seen").unwrap_err().to_string();
    assert!(error.contains("never seen"), "{error}");
}

#[test]
fn pooling_is_the_mean_or_the_last_of_the_hidden_rows() {
    let world = world();
    let ids = world.chat.tokenizer().encode("find flight").unwrap();
    let mut batch = PackedBatch::new();
    batch.push(&ids, &[]);
    let rows = host(world.decoder.hidden(&batch, &NoAdapters)).unwrap();
    let mean = (0..24)
        .map(|i| rows.chunks(24).map(|row| row[i]).sum::<f32>() / ids.len() as f32)
        .collect::<Vec<_>>();
    near(&world.encoder.encode("find flight").unwrap(), &mean);
    let last = TextEncoder::base(
        Arc::clone(&world.decoder),
        world.chat.tokenizer().clone(),
        Layer::Last,
        Pooling::Last,
    );
    near(&last.encode("find flight").unwrap(), rows.chunks(24).last().unwrap());
    assert!(matches!(last.encode(""), Err(Failure::Data(_))));
}

#[test]
fn parts_are_the_means_of_question_and_history() {
    let world = world();
    let tokenizer = world.chat.tokenizer();
    let parts = TextEncoder::base(Arc::clone(&world.decoder), tokenizer.clone(), Layer::Last, Pooling::Parts);
    assert_eq!(parts.dimension(), 48);
    let (question, behind) = ("find flight", "\n\n[TOOLCALL_HISTORY]\n[find_flight(n=1)]");
    let (first, second) = (tokenizer.encode(question).unwrap(), tokenizer.encode(behind).unwrap());
    let mut batch = PackedBatch::new();
    batch.push(&[first.clone(), second.clone()].concat(), &[]);
    let rows = host(world.decoder.hidden(&batch, &NoAdapters)).unwrap();
    let mean = |rows: &[f32]| -> Vec<f32> {
        (0..24).map(|i| rows.chunks(24).map(|row| row[i]).sum::<f32>() / (rows.len() / 24) as f32).collect()
    };
    let (asked, made) = rows.split_at(first.len() * 24);
    near(&parts.encode(&format!("{question}{behind}")).unwrap(), &[mean(asked), mean(made)].concat());
    // Before the first call, and in a document, the second part is empty.
    near(&parts.encode(question).unwrap(), &[mean(asked), vec![0.0; 24]].concat());
}

#[test]
fn the_first_layer_is_a_bag_of_tokens() {
    let world = world();
    let tokenizer = world.chat.tokenizer();
    let bag = TextEncoder::base(Arc::clone(&world.decoder), tokenizer.clone(), Layer::First, Pooling::Mean);
    let table = host(world.decoder.parameters().next().unwrap().value.clone()).unwrap();
    let ids = tokenizer.encode("find flight").unwrap();
    let mut mean = vec![0.0; 24];
    for id in &ids {
        let row = &table[*id as usize * 24..][..24];
        let size = (row.iter().map(|x| x * x).sum::<f32>() / 24.0).sqrt();
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x / size / ids.len() as f32);
    }
    near(&bag.encode("find flight").unwrap(), &mean);
}

#[test]
fn adapters_in_use_do_not_reach_the_encoder() {
    let world = world();
    let before = world.encoder.encode("find flight").unwrap();
    let mut bank = Bank::new(&world.shape, world.decoder.device());
    let slot = bank.insert(world.adapter(1)).unwrap();
    let routed = RoutedBank::new(&bank, &Routing::everywhere(vec![(slot, 1.0)])).unwrap();
    let mut batch = PackedBatch::new();
    batch.push(&world.chat.tokenizer().encode("find flight").unwrap(), &[]);
    let adapted = host(pool::mean(&world.decoder.hidden(&batch, &routed), batch.segments())).unwrap();
    assert_ne!(adapted, before);
    assert_eq!(world.encoder.encode("find flight").unwrap(), before);
}

#[test]
fn the_artifact_reads_back_and_names_its_file_when_damaged() {
    let world = world();
    let folder = tempfile::tempdir().unwrap();
    world.embeddings.write(folder.path()).unwrap();
    assert_eq!(Embeddings::read(folder.path()).unwrap(), world.embeddings);
    let file = folder.path().join(FILE);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
    let error = Embeddings::read(folder.path()).unwrap_err();
    assert!(matches!(&error, Failure::Data(text) if text.contains(FILE) && !text.contains('\n')), "{error}");
}

#[test]
fn bert_reads_the_mean_of_at_most_512_tokens() {
    let shared = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/reference"));
    if !shared.is_dir() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} not found", shared.display());
        println!("skipped: {} not found", shared.display());
        return;
    }
    let encoder = Encoder::load(&shared.join("bert/model"), &Device::flex()).unwrap();
    // The reference encoder has no tokenizer of its own; any with fewer ids serves.
    let tokenizer = Tokenizer::load(&shared.join("qwen2/model")).unwrap();
    let encoder = TextEncoder::bert(encoder, tokenizer);
    assert_eq!(encoder.dimension(), 96);
    let long = "find the hotel ".repeat(400);
    let ids = encoder.ids(&long).unwrap().all;
    let full = encoder.tokenizer.encode_framed(&long).unwrap();
    assert_eq!((ids.len(), ids.last()), (512, full.last()));
    assert_eq!(ids[..511], full[..511]);
    assert_eq!(encoder.encode(&long).unwrap().len(), 96);
}
