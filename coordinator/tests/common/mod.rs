//! What the tests of commands share: a small manifest with its files, and the program run as people run it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

/// A manifest over two tools.
pub(crate) const MANIFEST: &str =
    "name: demo\nbase: {path: base}\ndataset: {records: {path: tools}}\nevaluate: {}\n";

/// Sizes of a base model.
const CONFIG: &str = r#"{"model_type": "qwen2", "vocab_size": 64, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 64}"#;

/// A folder with a manifest, a model folder and a dataset, and the program beside which a test may put a worker of its own.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A fresh folder.
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.write("demo.yaml", MANIFEST);
        place.write("base/config.json", CONFIG);
        place.write("base/tokenizer.json", "{}");
        let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let weights = [&(header.len() as u64).to_le_bytes(), header.as_slice(), &[0; 4]].concat();
        std::fs::write(place.path("base/model.safetensors"), weights).unwrap();
        let functions: Vec<Value> = ["weather", "time"]
            .map(|name| {
                let mut function = tool(name);
                function["training_data"] = json!([{
                    "question": format!("{name} in Oslo"),
                    "candidate_tools": [tool("weather"), tool("time")],
                    "answer": format!("[{name}(city='Oslo')]"),
                }]);
                function
            })
            .into();
        place.write(
            "tools/multiple.jsonl",
            &json!({"id": "r", "question": "x", "function": functions}).to_string(),
        );
        let question = json!([[{"role": "user", "content": "time in Bergen"}]]);
        let entry =
            json!({"id": "multiple_0", "question": question, "function": [tool("weather"), tool("time")]});
        place.write("tools/entries/BFCL_v4_multiple.json", &entry.to_string());
        let answer = json!({"id": "multiple_0", "ground_truth": [{"time": {"city": ["Bergen"]}}]});
        place.write("tools/entries/possible_answer/BFCL_v4_multiple.json", &answer.to_string());
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
    let args = ["serve", "--listen", "127.0.0.1:0", "--log", "warn"];
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

fn tool(name: &str) -> Value {
    json!({
        "name": name,
        "description": format!("{name} of a city"),
        "parameters": {
            "type": "dict",
            "properties": {"city": {"type": "string", "description": "where"}},
            "required": ["city"],
        },
    })
}

/// Bytes of an output stream.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
