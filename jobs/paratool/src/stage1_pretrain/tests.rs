#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use jobs_spec::manifest::Pretrain;
use jobs_spec::memory::Recompute;
use jobs_train::fan::{Fan, FanConfig, SlotEvent};
use proto::id::Digest;

use super::*;
use crate::testing::{World, world};

fn spec(world: &World, tool: usize, stage: &Pretrain) -> PretrainSpec {
    let tool = &world.set.tools[tool];
    PretrainSpec::new(tool.key.clone(), tool.name.clone(), stage, &world.prompt, 7)
}

/// Trains tools together; returns their adapters in order, with the exported figures.
fn trained(world: &World, tools: &[usize], stage: &Pretrain) -> Vec<(Adapter, serde_json::Value)> {
    let shape = shape(world.decoder.config(), stage.rank, stage.alpha).unwrap();
    let config = FanConfig { slots: tools.len(), tokens_per_pass: 120, recompute: Recompute::Nothing };
    let mut fan = Fan::new(Arc::clone(&world.decoder), &shape, config);
    let mut known = Vec::new();
    for &tool in tools {
        let (spec, id) = (spec(world, tool, stage), TaskId(tool.to_string()));
        let traces = world.set.for_tool(&spec.tool);
        let job = JobKey(Digest::new([tool as u8; 32]));
        let (task, pretraining) = task(id, &spec, job, &traces, &world.chat, &shape, None).unwrap();
        fan.start(task).unwrap();
        known.push((pretraining, None));
    }
    while known.iter().any(|(_, done)| done.is_none()) {
        for event in fan.pass().unwrap() {
            if let SlotEvent::Finished { task, adapter, losses } = event {
                let place = tools.iter().position(|tool| tool.to_string() == task.0).unwrap();
                let folder = tempfile::tempdir().unwrap();
                let metrics = known[place].0.export(&adapter, &losses, 9, folder.path()).unwrap();
                let read = peft::import(folder.path(), world.decoder.config()).unwrap();
                assert_eq!(read.values(), adapter.values());
                known[place].1 = Some((adapter, metrics));
            }
        }
    }
    known.into_iter().filter_map(|(_, done)| done).collect()
}

#[test]
fn the_first_step_shrinks_a_and_moves_b_by_the_rate() {
    let mut world = world();
    world.set.traces.truncate(1);
    let stage = Pretrain { rank: 2, alpha: 4.0, epochs: 1, with_documents: false, ..Pretrain::default() };
    let (adapter, metrics) = trained(&world, &[0], &stage).remove(0);
    assert_eq!(
        (&metrics["samples"], &metrics["dropped"], &metrics["tokens"]),
        (&1.into(), &0.into(), &9.into())
    );
    let start = Adapter::init(adapter.shape(), 7);
    let lr = stage.lr as f32;
    for site in 0..adapter.shape().sites().len() {
        let shrunk = start.a(site).iter().zip(adapter.a(site));
        assert!(shrunk.into_iter().all(|(a, b)| (a * (1.0 - lr * 0.01) - b).abs() <= 1e-7 * a.abs()));
        let moved = adapter.b(site).iter().filter(|b| (b.abs() - lr).abs() < 0.01 * lr).count();
        assert!(moved * 10 > adapter.b(site).len() * 9, "site {site}: {moved} moved by the rate");
        assert!(adapter.b(site).iter().all(|b| b.abs() < 1.01 * lr));
    }
}

#[test]
fn a_tool_does_not_depend_on_its_company_and_all_share_their_start() {
    let world = world();
    let stage = Pretrain { rank: 2, alpha: 4.0, epochs: 2, lr: 1e-2, ..Pretrain::default() };
    let together = trained(&world, &[0, 1, 2], &stage);
    for (tool, result) in together.iter().enumerate() {
        assert_eq!(trained(&world, &[tool], &stage)[0], *result);
        let losses = result.1["epoch_losses"].as_array().unwrap();
        assert!(losses.len() == 2 && losses[1].as_f64() < losses[0].as_f64());
    }
    // At rate zero an adapter ends as it started.
    let still = trained(&world, &[0, 1], &Pretrain { lr: 0.0, ..stage });
    assert_eq!(still[0].0, still[1].0);
    assert_eq!(still[0].0, Adapter::init(still[0].0.shape(), 7));
}

#[test]
fn a_tool_without_samples_is_named() {
    let world = world();
    let stage = Pretrain { rank: 2, alpha: 4.0, ..Pretrain::default() };
    let spec = spec(&world, 3, &stage);
    let shape = shape(world.decoder.config(), 2, 4.0).unwrap();
    let job = JobKey(Digest::new([0; 32]));
    let refused = task(TaskId("t".into()), &spec, job, &world.set, &world.chat, &shape, None).unwrap_err();
    assert_eq!(refused, Failure::Data("tool send_mail: no sample (0 longer than 8000 tokens)".to_owned()));
}
