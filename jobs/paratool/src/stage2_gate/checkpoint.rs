//! The state of a gate's training between two epochs, and its file.

use std::path::Path;

use jobs_lora::Moments;
use serde::{Deserialize, Serialize};

use super::{EpochMetrics, Training};
use crate::Failure;
use crate::gate::Gate;
use crate::tensors::{self, Contents, Named};

const FILE: &str = "state.safetensors";

#[derive(Serialize, Deserialize)]
struct Header {
    /// Everything that the training depends on, in words; a checkpoint of another training is refused.
    training: String,
    steps: u64,
    row_steps: Vec<u64>,
    epochs: usize,
    best_epoch: Option<usize>,
}

impl Training<'_> {
    pub(super) fn save(&self, folder: &Path) -> Result<(), Failure> {
        let header = Header {
            training: self.description(),
            steps: self.moments.steps,
            row_steps: self.row_moments.iter().map(|moments| moments.steps).collect(),
            epochs: self.history.len(),
            best_epoch: self.best.as_ref().map(|(epoch, _)| *epoch),
        };
        let history = self.history.iter().flat_map(|epoch| epoch.figures()).collect::<Vec<_>>();
        let mut parts = vec![
            part("history", history),
            part("first", self.moments.first.as_slice()),
            part("second", self.moments.second.as_slice()),
            part("rows.first", self.row_moments.iter().flat_map(|m| m.first.clone()).collect::<Vec<_>>()),
            part("rows.second", self.row_moments.iter().flat_map(|m| m.second.clone()).collect::<Vec<_>>()),
        ];
        parts.extend(gate_parts("now", &self.gate));
        if let Some((_, best)) = &self.best {
            parts.extend(gate_parts("best", best));
        }
        tensors::write(&folder.join(FILE), &header, &parts)
    }

    pub(super) fn load(&mut self, folder: &Path) -> Result<(), Failure> {
        let file = folder.join(FILE);
        let mut contents = tensors::read::<Header>(&file)?;
        let (found, expected) = (&contents.header.training, self.description());
        let rows = self.row_moments.len();
        if *found != expected || contents.header.row_steps.len() != rows {
            return Err(Failure::Data(format!(
                "{}: a checkpoint of {found}, expected {expected}",
                file.display()
            )));
        }
        let (count, dimension) = (self.moments.first.len(), self.examples.dimension);
        self.moments.first = contents.take(&file, "first", &[count])?;
        self.moments.second = contents.take(&file, "second", &[count])?;
        self.moments.steps = contents.header.steps;
        let first = contents.take(&file, "rows.first", &[rows * dimension])?;
        let second = contents.take(&file, "rows.second", &[rows * dimension])?;
        let pairs = first.chunks(dimension).zip(second.chunks(dimension)).zip(&contents.header.row_steps);
        self.row_moments = pairs
            .map(|((m, v), steps)| Moments { first: m.to_vec(), second: v.to_vec(), steps: *steps })
            .collect();
        take_gate(&mut contents, &file, "now", &mut self.gate)?;
        if let Some(epoch) = contents.header.best_epoch {
            let mut best = self.gate.clone();
            take_gate(&mut contents, &file, "best", &mut best)?;
            self.best = Some((epoch, best));
        }
        let history = contents.take(&file, "history", &[contents.header.epochs * EpochMetrics::COUNT])?;
        self.history = history.as_chunks().0.iter().map(|figures| EpochMetrics::of(*figures)).collect();
        Ok(())
    }

    fn description(&self) -> String {
        let (trained, tools) = (self.examples.train.len(), self.examples.keys.len());
        let settings = serde_json::to_string(self.spec).unwrap_or_default();
        format!("a gate over {trained} traces and {tools} tools with {settings}")
    }
}

fn part<'a>(name: &str, values: impl Into<std::borrow::Cow<'a, [f32]>>) -> Named<'a> {
    let values = values.into();
    (name.to_owned(), vec![values.len()], values)
}

fn gate_parts<'a>(prefix: &str, gate: &'a Gate) -> Vec<Named<'a>> {
    let table = gate.table().map(|table| part(&format!("{prefix}.tools"), table.values()));
    std::iter::once(part(&format!("{prefix}.network"), gate.network().values())).chain(table).collect()
}

fn take_gate(
    contents: &mut Contents<Header>,
    file: &Path,
    prefix: &str,
    gate: &mut Gate,
) -> Result<(), Failure> {
    let values = gate.network_mut().values_mut();
    let saved = contents.take(file, &format!("{prefix}.network"), &[values.len()])?;
    values.copy_from_slice(&saved);
    if let Some(table) = gate.table_mut() {
        let values = table.values_mut();
        let saved = contents.take(file, &format!("{prefix}.tools"), &[values.len()])?;
        values.copy_from_slice(&saved);
    }
    Ok(())
}
