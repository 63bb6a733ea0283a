use super::*;

#[test]
fn every_reference_passes() {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/reference"));
    if !dir.is_dir() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} not found", dir.display());
        eprintln!("skipped: {} not found", dir.display());
        return;
    }
    let report = verify(dir).unwrap();
    assert!(report.passed(), "{report}");
    for family in ["qwen2", "qwen3", "llama3"] {
        assert_eq!(report.keys.iter().filter(|key| key.reference == family).count(), 10, "{report}");
    }
    assert_eq!(report.keys.iter().filter(|key| key.reference == "bert").count(), 2, "{report}");
    eprint!("{report}");
}

#[test]
fn what_is_far_or_not_finite_or_too_short_fails() {
    let report = |got: &[f32], tolerance| KeyReport::new("model", "key", got, &[1.0, 100.0], tolerance);
    assert!(report(&[1.0, 100.5], Tolerance::Absolute(0.5)).passed);
    assert!(!report(&[1.0, 100.6], Tolerance::Absolute(0.5)).passed);
    assert!(report(&[1.0, 100.5], Tolerance::Relative(0.005)).passed);
    assert!(!report(&[1.5, 100.0], Tolerance::Relative(0.005)).passed);
    assert!(!report(&[1.0, f32::NAN], Tolerance::Absolute(1e9)).passed);
    assert!(!report(&[1.0], Tolerance::Absolute(1e9)).passed);
}

#[test]
fn a_folder_without_a_reference_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = verify(dir.path()).unwrap_err().to_string();
    assert!(error.contains("no golden.json") && error.contains(&dir.path().display().to_string()), "{error}");
}
