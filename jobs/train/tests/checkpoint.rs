//! Checkpoint files: exact bytes, replaced in one move, and refused when damaged.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use jobs_lora::Moments;
use jobs_train::checkpoint::{FILE, TrainState};

fn state(steps: u64) -> TrainState {
    let moments = Moments { first: vec![-0.0, f32::MIN_POSITIVE], second: vec![1e-45, 3.0], steps };
    let losses = (0..steps).map(|step| step as f32).collect();
    TrainState { layout: "two numbers".into(), seed: u64::MAX, values: vec![0.1, -2.5], moments, losses }
}

#[test]
fn equal_states_are_equal_files_and_the_newest_replaces_the_last() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    state(3).save(&one.path().join("new/folder")).unwrap();
    assert_eq!(TrainState::load(&one.path().join("new/folder")).unwrap(), state(3));
    for steps in [1, 4] {
        state(steps).save(one.path()).unwrap();
        state(steps).save(two.path()).unwrap();
    }
    assert_eq!(TrainState::load(one.path()).unwrap(), state(4));
    let read = |folder: &tempfile::TempDir| std::fs::read(folder.path().join(FILE)).unwrap();
    assert_eq!(read(&one), read(&two));
    assert_eq!(std::fs::read_dir(two.path()).unwrap().count(), 1, "no scratch file stays");
}

#[test]
fn damage_is_refused_in_one_line_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let refusal = || {
        let error = TrainState::load(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with(file.to_str().unwrap()) && error.lines().count() == 1, "{error}");
        error
    };
    refusal();
    state(3).save(folder.path()).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&file, &bytes[..length]).unwrap();
        refusal();
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let edited = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = text.find(from).unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&file, bytes).unwrap();
        refusal()
    };
    assert!(edited(r#"version\":1"#, r#"version\":2"#).ends_with("version 2 where 1 is expected"));
    assert!(edited(r#"steps\":3"#, r#"steps\":4"#).ends_with("tensor losses has 3 numbers, expected 4"));
    assert!(edited("\"second\"", "\"secund\"").ends_with("tensor second is missing"));
    assert!(edited("\"quiver\"", "\"quaver\"").ends_with("metadata entry quiver is missing"));
}

proptest::proptest! {
    #[test]
    fn any_state_survives_and_damaged_bytes_never_panic(
        values in proptest::collection::vec(proptest::prelude::any::<f32>(), 0..9),
        losses in proptest::collection::vec(0f32..9.0, 0..5),
        layout: String,
        seed: u64,
        place in proptest::prelude::any::<proptest::sample::Index>(),
        byte: u8,
    ) {
        let moments = Moments { first: values.clone(), second: values.clone(), steps: losses.len() as u64 };
        let state = TrainState { layout, seed, values, moments, losses };
        let folder = tempfile::tempdir().unwrap();
        state.save(folder.path()).unwrap();
        let loaded = TrainState::load(folder.path()).unwrap();
        let bits = |state: &TrainState| state.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&loaded), bits(&state));
        assert_eq!((&loaded.layout, loaded.seed, &loaded.losses), (&state.layout, state.seed, &state.losses));

        let file = folder.path().join(FILE);
        let mut bytes = std::fs::read(&file).unwrap();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        std::fs::write(&file, bytes).unwrap();
        let _ = TrainState::load(folder.path());
    }
}
