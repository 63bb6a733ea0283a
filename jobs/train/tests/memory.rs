//! What a fan has in memory at its peak, against the plan that was made before.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use jobs_lm::decoder::Decoder;
use jobs_lora::{Adapter, AdapterShape};
use jobs_spec::memory::{Engine, FanSizes, Recompute};
use jobs_train::fan::{Fan, FanConfig, SlotTask, Start, TaskId};
use jobs_train::sample::Sample;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes in use before a fan of `tools` traces of `tokens` tokens each, at the peak of its second pass, and what all trained to.
fn peak(base: &Arc<Decoder>, recompute: Recompute, tools: usize, tokens: usize) -> (usize, usize, Vec<f32>) {
    let shape = Arc::new(AdapterShape::targeting(16, 64.0, &common::MLP, base.config()).unwrap());
    let before = ALLOCATOR.current_usage();
    let config = FanConfig { slots: tools, tokens_per_pass: tools * tokens, recompute };
    let mut fan = Fan::new(Arc::clone(base), &shape, config);
    for tool in 0..tools {
        let ids: Vec<u32> = (0..tokens).map(|at| (at * 7 + tool) as u32 % 300).collect();
        let (prompt, completion) = ids.split_at(tokens * 3 / 4);
        let sample = Sample { prompt: prompt.to_vec(), completion: completion.to_vec() };
        let task = SlotTask {
            id: TaskId(tool.to_string()),
            samples: vec![sample; 3],
            epochs: 1,
            start: Start::Fresh(Adapter::init(&shape, 7)),
            ..common::tool(base, 0)
        };
        fan.start(task).unwrap();
    }
    fan.pass().unwrap();
    ALLOCATOR.reset_peak_usage();
    fan.pass().unwrap();
    let peak = ALLOCATOR.peak_usage();
    (before, peak, fan.snapshot(&TaskId("0".into())).unwrap().values)
}

#[test]
fn the_peak_is_the_plans_within_a_tenth() {
    // One thread: a pass is one part, so that every run has the same peak.
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    thread.install(|| {
        let base = common::base(192, 4, 512, 6);
        for (tools, tokens) in [(1, 1600), (4, 300), (16, 60)] {
            let mut results = Vec::new();
            for recompute in Recompute::ALL {
                let (before, peak, values) = peak(&base, recompute, tools, tokens);
                let sizes = FanSizes {
                    model: base.config(),
                    rank: 16,
                    slots: tools,
                    tokens_per_pass: tools * tokens,
                    longest: tokens,
                    engine: Engine::Cpu { threads: 1 },
                };
                let planned = (sizes.bank() + sizes.pass(recompute)) as f64;
                let ratio = (peak - before) as f64 / planned;
                assert!(
                    (ratio - 1.0).abs() < 0.1,
                    "{tools} of {tokens}, {recompute}: {ratio:.3} of {planned:.0} planned bytes"
                );
                results.push(common::bits(&values));
            }
            assert!(results.iter().all(|bits| *bits == results[0]), "a policy changed a bit");
        }
    });
}
