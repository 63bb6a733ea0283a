//! What the tests of commands share: a small manifest with its files, and the program run as people run it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A manifest over two tools.
pub(crate) const MANIFEST: &str =
    "name: demo\nbase: {path: base}\ndataset: {records: {path: tools}}\nevaluate: {}\n";

/// A folder with a manifest, a model folder and a dataset, and the program beside which a test may put a worker of its own.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A fresh folder.
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.write("demo.yaml", MANIFEST);
        tests::workspace::write(place.dir.path(), &["weather", "time"]);
        place
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The program in this folder, without the caller's environment.
    pub(crate) fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path()).env_clear();
        command
    }

    /// Runs the coordinator's program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(Path::new(env!("CARGO_BIN_EXE_coordinator")), args).output().unwrap()
    }

    /// Runs it, and gives standard output as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The one line of a command's failure.
pub(crate) fn error(place: &Place, args: &[&str]) -> String {
    let output = place.run(args);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr.trim_end().replace(&place.path("").display().to_string(), "DIR/")
}

/// A coordinator that ends with the test.
pub(crate) struct Serving {
    pub(crate) url: String,
    process: Child,
}

/// A coordinator of a place, on a free port.
pub(crate) fn serve(place: &Place) -> Serving {
    let args = ["serve", "--listen", "127.0.0.1:0", "--open", "--log", "warn"];
    let program = Path::new(env!("CARGO_BIN_EXE_coordinator"));
    let mut process = place.command(program, &args).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
    Serving { url: format!("http://{address}"), process }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Bytes of an output stream.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
