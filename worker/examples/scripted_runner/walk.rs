//! Jobs that take steps: `SCRIPTED_WALK="STEPS MILLISECONDS FILE"` makes every job take so many steps, of which the runner does one of one
//! job in so many milliseconds, and without a wait once the file exists. A step's state is the hash of the one before; the first is that
//! of spec and inputs. Every third step is saved as a checkpoint. So a job's result depends on what it is alone, and never on how often
//! it was interrupted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proto::pipe::{FromRunner, Start, Task};
use worker_artifacts::hash_bytes;

use crate::{Failed, checkpoint, send};

/// Steps between checkpoints.
const SAVED: u64 = 3;

/// How fast jobs go.
pub(crate) struct Pace {
    /// Steps of a job.
    pub(crate) steps: u64,
    time: Duration,
    hurry: PathBuf,
    next: Instant,
    last: Option<Task>,
}

impl Pace {
    /// What the environment says.
    pub(crate) fn told() -> Result<Option<Self>, Failed> {
        let Ok(text) = std::env::var("SCRIPTED_WALK") else { return Ok(None) };
        let mut words = text.splitn(3, ' ');
        let mut word = || words.next().ok_or("SCRIPTED_WALK is STEPS MILLISECONDS FILE");
        let steps = word()?.parse()?;
        let time = Duration::from_millis(word()?.parse()?);
        let hurry = PathBuf::from(word()?);
        Ok(Some(Self { steps, time, hurry, next: Instant::now(), last: None }))
    }

    /// The job whose step is due: each in its turn.
    pub(crate) fn next<'a>(&mut self, mut running: impl Iterator<Item = &'a Task> + Clone) -> Option<Task> {
        let now = Instant::now();
        if now < self.next && !self.hurry.exists() {
            return None;
        }
        self.next = now + self.time;
        let behind = running.clone().find(|task| Some(**task) > self.last);
        self.last = behind.or_else(|| running.next()).copied();
        self.last
    }
}

/// A job under way.
pub(crate) struct Walk {
    done: u64,
    state: String,
}

impl Walk {
    /// From the checkpoint, where there is one.
    pub(crate) fn begin(start: &Start) -> Result<Self, Failed> {
        if let Some(folder) = &start.resume {
            let saved = std::fs::read_to_string(folder.join("state"))?;
            let (done, state) = saved.split_once(' ').ok_or("a checkpoint is STEPS STATE")?;
            return Ok(Self { done: done.parse()?, state: state.to_owned() });
        }
        let mut text = start.spec.to_string();
        for (name, folder) in &start.inputs {
            for (path, content) in files(folder)? {
                text.push_str(&format!("\n{name} {path} {}", hash_bytes(&content).digest));
            }
        }
        Ok(Self { done: 0, state: hash_bytes(text.as_bytes()).digest.to_string() })
    }

    /// One step. True after the last.
    pub(crate) fn step(&mut self, start: &Start, steps: u64) -> Result<bool, Failed> {
        let task = start.task;
        self.state = hash_bytes(self.state.as_bytes()).digest.to_string();
        self.done += 1;
        if self.done >= steps {
            let output = start.scratch.join("output");
            std::fs::create_dir_all(&output)?;
            std::fs::write(output.join("adapter_config.json"), start.spec.to_string())?;
            std::fs::write(output.join("adapter_model.safetensors"), &self.state)?;
            let metrics = serde_json::json!({"steps": self.done});
            send(&FromRunner::Done { task, output, metrics, device_ms: steps })?;
            return Ok(true);
        }
        let done = self.done;
        send(&FromRunner::Progress { task, step: done, total: steps, tokens: done, loss: Some(1.0) })?;
        if self.done.is_multiple_of(SAVED) {
            self.save(start)?;
        }
        Ok(false)
    }

    /// Writes a checkpoint.
    pub(crate) fn save(&self, start: &Start) -> Result<(), Failed> {
        checkpoint(start, self.done, &format!("{} {}", self.done, self.state))
    }
}

/// The files of a folder, by path.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failed> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let (name, path) = {
            let entry = entry?;
            (entry.file_name().to_string_lossy().into_owned(), entry.path())
        };
        if path.is_dir() {
            let below = files(&path)?.into_iter();
            found.extend(below.map(|(inner, content)| (format!("{name}/{inner}"), content)));
        } else {
            found.insert(name, std::fs::read(path)?);
        }
    }
    Ok(found)
}
