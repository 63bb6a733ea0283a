//! Tests run in `figment::Jail`, which gives each its own environment and folder.
#![expect(clippy::result_large_err, reason = "the jail's closures return figment's own error")]

use figment::Jail;
use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    listen: String,
    dir: Option<PathBuf>,
    lease: Lease,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7700".into(),
            dir: None,
            lease: Lease { ttl_ms: 30_000, heartbeat_ms: 5_000 },
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Lease {
    ttl_ms: u64,
    heartbeat_ms: u64,
}

impl Default for Lease {
    fn default() -> Self {
        Self { ttl_ms: 30_000, heartbeat_ms: 5_000 }
    }
}

#[derive(Default, Serialize)]
struct Flags {
    listen: Option<String>,
    dir: Option<PathBuf>,
}

/// Loads in a jail of its own.
fn in_jail(file: Option<&str>, variables: &[(&str, &str)], flags: Flags) -> Result<Settings, ConfigError> {
    let mut result = None;
    Jail::try_with(|jail| {
        jail.clear_env();
        for (name, value) in variables {
            jail.set_env(name, value);
        }
        if let Some(text) = file {
            jail.create_file("quiver.toml", text)?;
        }
        result = Some(load(file.map(|_| Path::new("quiver.toml")), flags));
        Ok(())
    })
    .unwrap();
    result.unwrap()
}

#[test]
fn later_layers_win_and_absent_flags_do_not_count() {
    let file = Some("listen = \"file\"\ndir = \"/from/file\"\n[lease]\nttl_ms = 1\nheartbeat_ms = 2\n");
    let variables = [("QUIVER_LISTEN", "variable"), ("QUIVER_LEASE__TTL_MS", "3")];
    let settings = in_jail(file, &variables, Flags { listen: Some("flag".into()), dir: None }).unwrap();
    let lease = Lease { ttl_ms: 3, heartbeat_ms: 2 };
    assert_eq!(settings, Settings { listen: "flag".into(), dir: Some("/from/file".into()), lease });
    assert_eq!(in_jail(None, &[], Flags::default()).unwrap(), Settings::default());
}

#[test]
fn an_unknown_key_is_named_with_its_source_and_neighbour() {
    let error = in_jail(Some("lisen = \"x\"\n"), &[], Flags::default()).unwrap_err();
    assert_eq!(error.to_string(), "quiver.toml: unknown setting `lisen`; the nearest valid one is `listen`");
    let error = in_jail(None, &[("QUIVER_LEASE__TLL_MS", "3")], Flags::default()).unwrap_err();
    let expected =
        "QUIVER_LEASE__TLL_MS: unknown setting `lease.tll_ms`; the nearest valid one is `lease.ttl_ms`";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn settings_of_other_programs_are_passed_over() {
    let variables = [
        ("QUIVER_WORKER__DEVICE", "[cpu]"),
        ("QUIVER_CHECKPOINT_SECONDS", "0.3"),
        ("QUIVER_LANE_MEMORY", "1"),
    ];
    assert_eq!(
        in_jail(Some("[worker]\nx = 1\n"), &variables, Flags::default()).unwrap(),
        Settings::default()
    );
}

#[test]
fn a_section_is_all_that_its_program_reads() {
    let variables = [("QUIVER_LISTEN", "x"), ("QUIVER_NOBODYS", "x"), ("QUIVER_LEASE__TTL_MS", "3")];
    let mut results = Vec::new();
    Jail::try_with(|jail| {
        jail.clear_env();
        jail.create_file("quiver.toml", "other = 1\n[lease]\nheartbeat_ms = 2\n")?;
        for (name, value) in variables {
            jail.set_env(name, value);
        }
        results.push(load_section::<Lease>("lease", Some(Path::new("quiver.toml")), Flags::default()));
        jail.set_env("QUIVER_LEASE__TTL_MS", "soon");
        results.push(load_section("lease", None, ()));
        jail.set_env("QUIVER_LEASE__TTL", "3");
        results.push(load_section("lease", None, ()));
        Ok(())
    })
    .unwrap();
    let [loaded, misfit, unknown] = results.try_into().unwrap();
    assert_eq!(loaded.unwrap(), Lease { ttl_ms: 3, heartbeat_ms: 2 });
    let expected = "QUIVER_LEASE__TTL_MS: `lease.ttl_ms`: invalid type: found string \"soon\", expected u64";
    assert_eq!(misfit.unwrap_err().to_string(), expected);
    let expected = "QUIVER_LEASE__TTL: unknown setting `lease.ttl`; the nearest valid one is `lease.ttl_ms`";
    assert_eq!(unknown.unwrap_err().to_string(), expected);
}

#[test]
fn a_value_that_does_not_fit_is_named_with_its_source() {
    let error = in_jail(None, &[("QUIVER_LEASE__TTL_MS", "soon")], Flags::default()).unwrap_err();
    let expected = "QUIVER_LEASE__TTL_MS: `lease.ttl_ms`: invalid type: found string \"soon\", expected u64";
    assert_eq!(error.to_string(), expected);
    let error = in_jail(Some("listen = 7\n"), &[], Flags::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "quiver.toml: `listen`: invalid type: found signed int `7`, expected a string"
    );
}

#[test]
fn a_broken_or_absent_file_gives_one_line() {
    let error = in_jail(Some("listen = \n"), &[], Flags::default()).unwrap_err().to_string();
    assert!(error.starts_with("quiver.toml: TOML parse error at line 1") && !error.contains('\n'), "{error}");
    let error = load::<Settings>(Some(Path::new("absent.toml")), Flags::default()).unwrap_err().to_string();
    assert!(error.starts_with("absent.toml: cannot be read: No such file"), "{error}");
}
