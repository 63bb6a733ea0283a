//! A sweep's progress on standard error: a bar per stage on a terminal, otherwise a line when a stage starts, passes a quarter, or ends.

use std::collections::HashMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use proto::v1;

use super::table::left;
use super::tell;

/// Resolution of a bar.
const PARTS: u64 = 1_000;

/// Shows one sweep after another state of it has come.
pub enum Progress {
    /// Bars that are redrawn in place.
    Bars {
        /// Draws all bars.
        all: MultiProgress,
        /// One bar a stage, by the stage's name.
        stages: HashMap<String, ProgressBar>,
    },
    /// Lines, for files and pipes: the last quarter told of each stage.
    Lines(HashMap<String, u8>),
}

impl Progress {
    /// Bars where standard error is a terminal.
    pub fn new() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bars { all: MultiProgress::new(), stages: HashMap::new() }
        } else {
            Self::Lines(HashMap::new())
        }
    }

    /// Shows where the sweep stands now.
    pub fn show(&mut self, sweep: &v1::Sweep) {
        match self {
            Self::Bars { all, stages } => {
                let width = sweep.stages.iter().map(|stage| stage.name.len()).max().unwrap_or(0);
                for stage in &sweep.stages {
                    let bar = stages
                        .entry(stage.name.clone())
                        .or_insert_with(|| all.add(stage_bar(&format!("{:width$}", stage.name))));
                    bar.set_position((stage.done * PARTS as f64) as u64);
                    bar.set_message(details(stage, sweep));
                }
            }
            Self::Lines(told) => {
                for stage in &sweep.stages {
                    let quarter = quarter(stage);
                    if quarter > told.insert(stage.name.clone(), quarter).unwrap_or(0) {
                        tell(&format!("{}: {}", stage.name, details(stage, sweep)));
                    }
                }
            }
        }
    }

    /// Leaves the last state on the screen.
    pub fn finish(&self) {
        if let Self::Bars { stages, .. } = self {
            stages.values().for_each(ProgressBar::abandon);
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

fn stage_bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(PARTS);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {percent:>3}%  {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar
}

/// 0 before anything runs, 1 once it does, 2 to 4 for quarters done, 5 at the end.
fn quarter(stage: &v1::Stage) -> u8 {
    let count = |state: &str| stage.states.get(state).copied().unwrap_or(0);
    let ended = count("succeeded") + count("failed") + count("cancelled") + count("skipped");
    if stage.jobs > 0 && ended == stage.jobs {
        5
    } else if stage.done >= 0.25 {
        (1.0 + 4.0 * stage.done.min(0.99)) as u8
    } else {
        u8::from(count("running") > 0)
    }
}

/// `12 of 24 done, 1 failed, loss 0.310, 2m left`.
fn details(stage: &v1::Stage, sweep: &v1::Sweep) -> String {
    let count = |state: &str| stage.states.get(state).copied().unwrap_or(0);
    let mut parts = vec![format!("{} of {} done", count("succeeded"), stage.jobs)];
    for (state, name) in [("failed", "failed"), ("cancelled", "cancelled"), ("skipped", "waived")] {
        if count(state) > 0 {
            parts.push(format!("{} {name}", count(state)));
        }
    }
    if let Some(loss) = stage.loss {
        parts.push(format!("loss {loss:.3}"));
    }
    if count("running") > 0
        && let Some(left) = left(sweep)
    {
        parts.push(format!("{left} left in all"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(running: u64, succeeded: u64, done: f64) -> v1::Stage {
        v1::Stage {
            name: "pretrain".to_owned(),
            states: HashMap::from([("running".to_owned(), running), ("succeeded".to_owned(), succeeded)]),
            jobs: 8,
            done,
            tokens: 0,
            loss: Some(0.25),
        }
    }

    #[test]
    fn a_stage_is_told_when_it_starts_at_quarters_and_at_its_end() {
        let told: Vec<u8> = [
            stage(0, 0, 0.0),
            stage(8, 0, 0.01),
            stage(8, 0, 0.2),
            stage(6, 2, 0.3),
            stage(4, 4, 0.5),
            stage(2, 6, 0.9),
            stage(1, 7, 0.999),
            stage(0, 8, 1.0),
        ]
        .iter()
        .map(quarter)
        .collect();
        assert_eq!(told, [0, 1, 1, 2, 3, 4, 4, 5]);
    }

    #[test]
    fn details_tell_counts_loss_and_time() {
        let sweep = v1::Sweep { eta_low_s: Some(60.0), eta_high_s: Some(121.0), ..v1::Sweep::default() };
        assert_eq!(details(&stage(2, 6, 0.9), &sweep), "6 of 8 done, loss 0.250, 1m to 2m left in all");
    }
}
