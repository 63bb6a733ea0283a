//! The state of a finetuning between two steps, and its file: adapters that have learned, their moments and clocks, all losses.

use std::path::Path;

use jobs_lora::{Adapter, Moments};
use serde::{Deserialize, Serialize};

use super::Training;
use crate::Failure;
use crate::tensors::{self, Named};

const FILE: &str = "state.safetensors";

#[derive(Serialize, Deserialize)]
struct Header {
    /// Everything that the training depends on, in words; a checkpoint of another training is refused.
    training: String,
    steps: usize,
    /// Index and clock of each adapter that has learned.
    clocks: Vec<(usize, u64)>,
}

impl Training<'_> {
    pub(super) fn save(&self, folder: &Path) -> Result<(), Failure> {
        let clocks = self.moments.iter().map(|(tool, moments)| (*tool, moments.steps)).collect();
        let header = Header { training: self.description(), steps: self.losses.len(), clocks };
        let mut parts: Vec<Named<'_>> =
            vec![("losses".to_owned(), vec![self.losses.len()], (&self.losses).into())];
        for (tool, moments) in &self.moments {
            let values = self.inputs.adapters[*tool].values();
            let states = [("values", values), ("first", &moments.first), ("second", &moments.second)];
            parts.extend(
                states.map(|(name, values)| (format!("{tool}.{name}"), vec![values.len()], values.into())),
            );
        }
        tensors::write(&folder.join(FILE), &header, &parts)
    }

    pub(super) fn load(&mut self, folder: &Path) -> Result<(), Failure> {
        let file = folder.join(FILE);
        let mut contents = tensors::read::<Header>(&file)?;
        let damaged = |cause: String| Failure::Data(format!("{}: {cause}", file.display()));
        let expected = self.description();
        if contents.header.training != expected {
            return Err(damaged(format!(
                "a checkpoint of {}, expected {expected}",
                contents.header.training
            )));
        }
        if contents.header.steps > self.total() {
            return Err(damaged(format!("step {} of {}", contents.header.steps, self.total())));
        }
        self.losses = contents.take(&file, "losses", &[contents.header.steps])?;
        let parameters = self.inputs.shape.parameters();
        for (tool, steps) in std::mem::take(&mut contents.header.clocks) {
            let mut take = |name: &str| contents.take(&file, &format!("{tool}.{name}"), &[parameters]);
            let (values, first, second) = (take("values")?, take("first")?, take("second")?);
            let adapter = Adapter::from_values(self.inputs.shape, values);
            let place = self.inputs.adapters.get_mut(tool);
            let (Some(place), Some(adapter)) = (place, adapter) else {
                return Err(damaged(format!("there is no tool {tool}")));
            };
            *place = adapter;
            self.moments.insert(tool, Moments { first, second, steps });
        }
        Ok(())
    }

    fn description(&self) -> String {
        let (lessons, shape) = (self.lessons.lessons.len(), self.inputs.shape);
        let settings = serde_json::to_string(self.inputs.spec).unwrap_or_default();
        format!("a finetuning over {lessons} traces of {shape} with {settings}")
    }
}
