//! A tool's adapter has the same bytes whatever shares its lane, and from whatever step it resumes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::{Results, base, bits, fan, finished, run, samples, shape, tool};
use jobs_lm::decoder::Decoder;
use jobs_lora::Adapter;
use jobs_spec::model::Precision;
use jobs_train::checkpoint::TrainState;
use jobs_train::fan::{FanError, SlotEvent, SlotTask, Start, TaskId};
use jobs_train::guard::Fault;
use jobs_train::sample::Sample;

const TOOLS: u64 = 16;

fn alone(base: &Arc<Decoder>) -> Results {
    (0..TOOLS).flat_map(|number| run(&mut fan(base, 1, 4096), [tool(base, number)])).collect()
}

#[test]
fn company_refill_and_budget_change_no_byte() {
    let base = base(32, 2, 48, 4);
    let alone = alone(&base);
    assert_eq!(alone.len(), 16);
    for (slots, budget) in [(16, 4096), (16, 150), (4, 4096), (4, 60), (3, 1), (5, 200)] {
        let together = run(&mut fan(&base, slots, budget), (0..TOOLS).map(|number| tool(&base, number)));
        assert_eq!(alone, together, "{slots} slots, {budget} tokens a pass");
    }
    let reversed = run(&mut fan(&base, 4, 300), (0..TOOLS).rev().map(|number| tool(&base, number)));
    assert_eq!(alone, reversed, "other neighbours");
}

#[test]
fn a_budget_halved_on_the_way_changes_no_byte() {
    let base = base(32, 2, 48, 4);
    let alone = alone(&base);
    let mut halving = fan(&base, 4, 400);
    let tasks = (0..4).map(|number| tool(&base, number)).collect::<Vec<_>>();
    tasks.iter().for_each(|task| halving.start(task.clone()).unwrap());
    let mut together = Results::new();
    for budget in [400, 200, 100, 1].into_iter().chain(std::iter::repeat(1)) {
        halving.set_tokens_per_pass(budget);
        let events = halving.pass().unwrap();
        if events.is_empty() {
            break;
        }
        let steps = events.iter().filter(|event| matches!(event, SlotEvent::Step { .. })).count();
        assert!(budget > 1 || steps == 1, "a pass holds at least one sample, and here no more");
        together.extend(events.into_iter().filter_map(finished));
    }
    assert_eq!(together, alone.into_iter().filter(|(id, _)| tasks.iter().any(|t| t.id == *id)).collect());
}

#[test]
fn the_size_of_the_example_base_changes_no_byte() {
    // Products of this size run on several threads and by other kernels than small ones.
    let base = base(192, 2, 512, 6);
    let task = |number: u64| {
        let samples = samples(50 + number, 2, 60 + 30 * number as usize);
        SlotTask { samples, epochs: 1, ..tool(&base, number) }
    };
    let alone = (0..8).flat_map(|number| run(&mut fan(&base, 1, 4096), [task(number)])).collect::<Results>();
    for (slots, budget) in [(8, 4096), (3, 300)] {
        let together = run(&mut fan(&base, slots, budget), (0..8).map(task));
        assert_eq!(alone, together, "{slots} slots, {budget} tokens a pass");
    }
}

#[test]
fn any_checkpoint_resumes_to_the_same_bytes_in_other_company() {
    let base = base(32, 2, 48, 4);
    let alone = alone(&base);
    let number = 7;
    let id = tool(&base, number).id;
    let mut first = fan(&base, 2, 4096);
    first.start(tool(&base, number)).unwrap();
    first.start(tool(&base, 2)).unwrap();
    let mut steps = 0;
    while let Ok(state) = first.snapshot(&id) {
        let folder = tempfile::tempdir().unwrap();
        state.save(folder.path()).unwrap();
        let loaded = TrainState::load(folder.path()).unwrap();
        assert_eq!(loaded, state);
        assert_eq!(loaded.steps(), steps);
        let resumed = SlotTask { start: Start::Resume(loaded), ..tool(&base, number) };
        let ended = run(&mut fan(&base, 4, 200), [tool(&base, 1), resumed, tool(&base, 3), tool(&base, 5)]);
        for (task, result) in ended {
            assert_eq!(result, alone[&task], "{task} after a resume at step {steps}");
        }
        first.pass().unwrap();
        steps += 1;
    }
    assert_eq!(steps, tool(&base, number).total(), "every step of the run was resumed from");
}

#[test]
fn every_slot_is_served_in_turn_and_keeps_its_order() {
    let base = base(16, 1, 24, 2);
    let mut fan = fan(&base, 4, 70);
    let tasks = (0..4).map(|number| tool(&base, number)).collect::<Vec<_>>();
    tasks.iter().for_each(|task| fan.start(task.clone()).unwrap());
    let longest = tasks.iter().flat_map(|task| &task.samples).map(|sample| sample.tokens()).max().unwrap();
    let mut next = [0; 4];
    let mut since = [0; 4];
    loop {
        let full = fan.free_slots() == 0;
        let events = fan.pass().unwrap();
        if events.is_empty() {
            break;
        }
        since.iter_mut().for_each(|passes| *passes += 1);
        let mut sum = 0;
        for event in events {
            let SlotEvent::Step { task, step, tokens, .. } = event else { continue };
            let slot = tasks.iter().position(|other| other.id == task).unwrap();
            next[slot] += 1;
            assert_eq!(step, next[slot], "no step is lost or repeated");
            assert!(!full || since[slot] <= 4, "{task} waited {} passes", since[slot]);
            since[slot] = 0;
            sum += tokens;
        }
        assert!(sum <= longest.max(70));
    }
    for (task, steps) in tasks.iter().zip(next) {
        assert_eq!(steps, task.total());
    }
}

#[test]
fn a_base_in_bf16_trains_to_nearly_the_same_losses() {
    let exact = base(64, 2, 96, 4);
    let rounded = Arc::new(Decoder::clone(&exact).cast(Precision::Bf16));
    let last = |base: &Arc<Decoder>| -> Vec<f32> {
        let results = run(&mut fan(base, 4, 300), (0..6).map(|number| tool(base, number)));
        let end = |(_, losses): (Vec<u32>, Vec<u32>)| f32::from_bits(*losses.last().unwrap());
        results.into_values().map(end).collect()
    };
    for (exact, rounded) in last(&exact).into_iter().zip(last(&rounded)) {
        assert!((exact - rounded).abs() < 0.02 * exact && exact != rounded, "{exact} and {rounded}");
    }
}

#[test]
fn the_longest_go_first_once_nobody_is_left_to_come() {
    let base = base(16, 1, 24, 2);
    let mut fan = fan(&base, 4, 20);
    let ten = || Sample { prompt: vec![1; 7], completion: vec![2; 3] };
    for (number, steps) in [(0, 2), (1, 4), (2, 12)] {
        let samples = (0..steps).map(|_| ten()).collect();
        fan.start(SlotTask { samples, epochs: 1, ..tool(&base, number) }).unwrap();
    }
    let passes = std::iter::from_fn(|| Some(fan.pass().unwrap()).filter(|events| !events.is_empty()));
    assert_eq!(passes.count(), 12, "a pass has room for two, and the longest is in every one");
}

#[test]
fn a_task_that_is_not_finite_fails_alone() {
    let base = base(32, 2, 48, 4);
    let alone = alone(&base);
    let mut poison = Adapter::init(&shape(&base), 7);
    poison.values_mut()[3] = f32::NAN;
    let poisoned = SlotTask { start: Start::Fresh(poison), ..tool(&base, 2) };
    let mut fan = fan(&base, 3, 4096);
    for task in [tool(&base, 0), poisoned, tool(&base, 4)] {
        fan.start(task).unwrap();
    }
    let failed = fan.pass().unwrap().into_iter().filter_map(|event| match event {
        SlotEvent::NonFinite { task, step, fault } => Some((task, step, fault)),
        _ => None,
    });
    assert_eq!(failed.collect::<Vec<_>>(), [(TaskId("tool-2".into()), 0, Fault::Loss)]);
    assert_eq!(fan.free_slots(), 1);
    for (task, result) in run(&mut fan, [tool(&base, 2)]) {
        assert_eq!(result, alone[&task], "{task} beside a failed one");
    }
}

#[test]
fn cancelled_slots_are_free_and_mistakes_are_refused() {
    let base = base(16, 1, 24, 2);
    let mut fan = fan(&base, 1, 64);
    let id = TaskId("tool-1".into());
    assert!(matches!(fan.cancel(&id), Err(FanError::Unknown(_))));
    fan.start(tool(&base, 1)).unwrap();
    assert!(matches!(fan.start(tool(&base, 1)), Err(FanError::Repeated(_))));
    assert!(matches!(fan.start(tool(&base, 2)), Err(FanError::Full(..))));
    let state = fan.snapshot(&id).unwrap();
    assert_eq!(bits(&state.values), bits(Adapter::init(&shape(&base), 7).values()));
    fan.cancel(&id).unwrap();
    assert!(matches!(fan.snapshot(&id), Err(FanError::Unknown(_))));

    let refused = |fan: &mut jobs_train::fan::Fan, change: &dyn Fn(&mut SlotTask)| {
        let mut task = tool(&base, 1);
        change(&mut task);
        fan.start(task).unwrap_err().to_string()
    };
    assert_eq!(refused(&mut fan, &|task| task.epochs = 0), "task tool-1: no sample or no epoch");
    let empty = refused(&mut fan, &|task| task.samples[0].completion.clear());
    assert_eq!(empty, "task tool-1: a sample without prompt or completion");
    assert!(refused(&mut fan, &|task| task.samples[0].prompt[0] = 300).contains("300"));
    let resume = |change: &dyn Fn(&mut TrainState)| {
        let mut state = state.clone();
        change(&mut state);
        move |task: &mut SlotTask| task.start = Start::Resume(state.clone())
    };
    let other = refused(&mut fan, &resume(&|state| state.layout = "another".into()));
    assert!(
        other.starts_with("task tool-1: cannot resume: the checkpoint holds another, expected"),
        "{other}"
    );
    let seed = refused(&mut fan, &resume(&|state| state.seed = 3));
    assert_eq!(seed, "task tool-1: cannot resume: the checkpoint has seed 3, expected 101");
    assert!(refused(&mut fan, &resume(&|state| state.moments.steps = 99)).contains("step 99 of"));
    assert_eq!(fan.free_slots(), 1);
    fan.start(tool(&base, 1)).unwrap();
}
