//! The smallest runner: an example of the pipe, and the double that the worker's tests drive. A job's spec is its script:
//!
//! `{"do": "finish" | "fail" | "die" | "hang", "gate": PATH, "takes_ms": N, "checkpoint": TEXT, "note": PATH}`: write a checkpoint with that
//! text, write this process's id to `note`, wait until the file `gate` exists and so much time has passed, then do what it says. All of it
//! is optional: any other job finishes at once. A job that hangs takes the whole process with it. Asked for a checkpoint, a job that waits writes one with the text `asked`.
//! The result holds the inputs' files and the checkpoint from which the job resumed.
//!
//! With `SCRIPTED_WALK` in its environment it plays no scripts: see [`walk`].

mod walk;

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use proto::error::ErrorCode;
use proto::pipe::{FromRunner, Start, Task, ToRunner};
use serde::Deserialize;
use walk::{Pace, Walk};

type Failed = Box<dyn std::error::Error>;

#[derive(Deserialize)]
struct Script {
    #[serde(default)]
    r#do: String,
    gate: Option<PathBuf>,
    #[serde(default)]
    takes_ms: u64,
    checkpoint: Option<String>,
    note: Option<PathBuf>,
}

struct Running {
    start: Start,
    part: Part,
}

/// What a job does.
enum Part {
    /// A script, over no sooner than then.
    Script(Script, Instant),
    Walk(Walk),
}

fn main() -> Result<(), Failed> {
    let device = std::env::args().nth(3).unwrap_or_default();
    if device == "broken" {
        writeln!(std::io::stderr(), "no such device: broken")?;
        std::process::exit(3);
    }
    writeln!(std::io::stderr(), "driving {device}")?;
    let (kinds, version) = (vec!["scripted".to_owned()], env!("CARGO_PKG_VERSION").to_owned());
    send(&FromRunner::Hello { device, kinds, version })?;
    let commands = commands();
    let mut pace = Pace::told()?;
    let mut running: BTreeMap<Task, Running> = BTreeMap::new();
    loop {
        match commands.recv_timeout(Duration::from_millis(5)) {
            Ok(ToRunner::Start(start)) => begin(start, &mut running, pace.is_some())?,
            Ok(ToRunner::Stop { task }) => drop(running.remove(&task)),
            Ok(ToRunner::Checkpoint { task }) => match running.get(&task) {
                Some(Running { start, part: Part::Walk(walk) }) => walk.save(start)?,
                Some(Running { start, part: Part::Script(..) }) => checkpoint(start, 2, "asked")?,
                None => {}
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        match &mut pace {
            Some(pace) => step(pace, &mut running)?,
            None => act(&mut running)?,
        }
    }
}

/// Ends the jobs whose time has come and whose gates are open.
fn act(running: &mut BTreeMap<Task, Running>) -> Result<(), Failed> {
    let now = Instant::now();
    let open = |part: &Part| match part {
        Part::Script(script, over) => now >= *over && script.gate.as_ref().is_none_or(|gate| gate.exists()),
        Part::Walk(_) => false,
    };
    let ready: Vec<Task> = running.iter().filter(|(_, r)| open(&r.part)).map(|(task, _)| *task).collect();
    for task in ready {
        if let Some(Running { start, part: Part::Script(script, _) }) = running.remove(&task) {
            end(start, &script)?;
        }
    }
    Ok(())
}

fn commands() -> Receiver<ToRunner> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(command) = serde_json::from_str(&line) else { break };
            if sender.send(command).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Lets the next job go a step, if its time has come.
fn step(pace: &mut Pace, running: &mut BTreeMap<Task, Running>) -> Result<(), Failed> {
    while let Some(task) = pace.next(running.keys()) {
        let Some(Running { start, part: Part::Walk(walk) }) = running.get_mut(&task) else { break };
        if walk.step(start, pace.steps)? {
            running.remove(&task);
        }
    }
    Ok(())
}

fn begin(start: Start, running: &mut BTreeMap<Task, Running>, walks: bool) -> Result<(), Failed> {
    let slots = start.fan_limits.as_ref().and_then(|limits| limits.get("slots")?.as_u64()).unwrap_or(1);
    if running.len() as u64 >= slots {
        writeln!(std::io::stderr(), "more than {slots} jobs")?;
        std::process::exit(4);
    }
    let task = start.task;
    if walks {
        let part = Part::Walk(Walk::begin(&start)?);
        send(&FromRunner::Started { task })?;
        running.insert(task, Running { start, part });
        return Ok(());
    }
    let script: Script = serde_json::from_value(start.spec.clone())?;
    send(&FromRunner::Started { task })?;
    send(&FromRunner::Progress { task, step: 1, total: 2, tokens: 10, loss: Some(0.5) })?;
    if let Some(note) = &script.note {
        std::fs::write(note, std::process::id().to_string())?;
    }
    if let Some(text) = &script.checkpoint {
        checkpoint(&start, 1, text)?;
    }
    let over = Instant::now() + Duration::from_millis(script.takes_ms);
    running.insert(task, Running { start, part: Part::Script(script, over) });
    Ok(())
}

fn checkpoint(start: &Start, step: u64, text: &str) -> Result<(), Failed> {
    let path = start.scratch.join(format!("checkpoint-{step}"));
    std::fs::create_dir_all(&path)?;
    std::fs::write(path.join("state"), text)?;
    send(&FromRunner::Checkpoint { task: start.task, step, path })
}

fn end(start: Start, script: &Script) -> Result<(), Failed> {
    let task = start.task;
    match script.r#do.as_str() {
        "fail" => {
            send(&FromRunner::Failed { task, code: ErrorCode::Data, message: "line 3 is broken".to_owned() })
        }
        "die" => {
            writeln!(std::io::stderr(), "illegal memory access")?;
            std::process::exit(9)
        }
        "hang" => loop {
            std::thread::park();
        },
        _ => {
            let output = start.scratch.join("output");
            std::fs::create_dir_all(&output)?;
            for (name, folder) in &start.inputs {
                copy(folder, &output.join(name))?;
            }
            if let Some(resume) = &start.resume {
                copy(resume, &output.join("resumed"))?;
            }
            std::fs::write(output.join("result"), start.spec.to_string())?;
            send(&FromRunner::Done { task, output, metrics: serde_json::json!({"steps": 2}), device_ms: 7 })
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn send(message: &FromRunner) -> Result<(), Failed> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(message)?)?;
    Ok(stdout.flush()?)
}
