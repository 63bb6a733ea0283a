//! The gate: a context and candidate tools in, one weight per candidate out.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::Device;
use jobs_spec::manifest::ToolVector;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::network::{Loaded, Network};
use crate::objective::softmax;
use crate::{Failure, tensors};

const FILE: &str = "gate.safetensors";
const LAYERS: [&str; 3] = ["fc1", "fc2", "fc_out"];
const TABLE: &str = "tools";
/// Standard deviation of a fresh learned tool vector.
const DEVIATION: f64 = 0.02;

/// A network over (context, tool) pairs and, where tools are learned rows, their table.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    network: Network,
    table: Option<Table>,
}

/// Learned tool vectors: a row per key and one more for unknown tools.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    keys: Vec<String>,
    rows: HashMap<String, usize>,
    values: Vec<f32>,
}

/// What the artifact says beside its tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    dimension: usize,
    hidden: usize,
    tool_vector: ToolVector,
    tools: Vec<String>,
}

impl Table {
    fn new(keys: Vec<String>, values: Vec<f32>) -> Self {
        let rows = keys.iter().enumerate().map(|(row, key)| (key.clone(), row)).collect();
        Self { keys, rows, values }
    }

    fn random(keys: Vec<String>, dimension: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = || {
            let (radius, angle) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
            (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
        };
        let values = (0..(keys.len() + 1) * dimension).map(|_| (DEVIATION * normal()) as f32).collect();
        Self::new(keys, values)
    }

    /// All rows, one behind the other.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// All rows, to change.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Gate {
    /// A fresh gate for vectors of a dimension; `tools` are the keys that a learned table knows.
    pub(crate) fn new(
        dimension: usize,
        hidden: usize,
        vector: ToolVector,
        tools: Vec<String>,
        seeds: [u64; 2],
    ) -> Self {
        let table = match vector {
            ToolVector::Document => None,
            ToolVector::Learned => Some(Table::random(tools, dimension, seeds[1])),
        };
        Self { network: Network::new(dimension, hidden, seeds[0]), table }
    }

    /// Length of the vectors that it takes.
    pub fn dimension(&self) -> usize {
        self.network.dimension()
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    pub(crate) fn table_mut(&mut self) -> Option<&mut Table> {
        self.table.as_mut()
    }

    /// Whether tools stand as their encoded documents, which the caller of [`Weigher::weights`] then has to give.
    pub fn reads_documents(&self) -> bool {
        self.table.is_none()
    }

    /// The learned vector of a tool, the row of unknown tools included; `None` where tools stand as their documents.
    pub fn learned(&self, key: &str) -> Option<&[f32]> {
        let table = self.table.as_ref()?;
        let row = table.rows.get(key).copied().unwrap_or(table.keys.len());
        table.values.chunks(self.dimension()).nth(row)
    }

    /// The gate on a device, ready to weigh.
    pub fn on(&self, device: &Device) -> Weigher<'_> {
        Weigher { gate: self, network: self.network.on(device) }
    }

    /// Writes `gate.safetensors` into a folder. Equal gates give equal bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        let (dimension, hidden) = (self.dimension(), self.network.hidden());
        let mut parts = Vec::new();
        let mut values = self.network.values();
        for (name, [output, input]) in LAYERS.into_iter().zip(Network::layers(dimension, hidden)) {
            let (weight, rest) = values.split_at(output * input);
            let (bias, rest) = rest.split_at(output);
            parts.push((format!("{name}.weight"), vec![output, input], weight.into()));
            parts.push((format!("{name}.bias"), vec![output], bias.into()));
            values = rest;
        }
        let tools = self.table.as_ref().map(|table| table.keys.clone()).unwrap_or_default();
        if let Some(table) = &self.table {
            parts.push((TABLE.to_owned(), vec![tools.len() + 1, dimension], table.values().into()));
        }
        let tool_vector = if self.table.is_some() { ToolVector::Learned } else { ToolVector::Document };
        tensors::write(&folder.join(FILE), &Header { dimension, hidden, tool_vector, tools }, &parts)
    }

    /// Reads what [`Gate::write`] wrote.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let file = folder.join(FILE);
        let mut contents = tensors::read::<Header>(&file)?;
        let (dimension, hidden) = (contents.header.dimension, contents.header.hidden);
        let mut values = Vec::new();
        for (name, [output, input]) in LAYERS.into_iter().zip(Network::layers(dimension, hidden)) {
            values.extend(contents.take(&file, &format!("{name}.weight"), &[output, input])?);
            values.extend(contents.take(&file, &format!("{name}.bias"), &[output])?);
        }
        let network = Network::from_values(dimension, hidden, values);
        let network = network.ok_or_else(|| Failure::Data(format!("{}: not a gate", file.display())))?;
        let tools = std::mem::take(&mut contents.header.tools);
        let table = match contents.header.tool_vector {
            ToolVector::Document => None,
            ToolVector::Learned => {
                let values = contents.take(&file, TABLE, &[tools.len() + 1, dimension])?;
                Some(Table::new(tools, values))
            }
        };
        Ok(Self { network, table })
    }
}

/// A gate on a device.
#[derive(Debug)]
pub struct Weigher<'a> {
    gate: &'a Gate,
    network: Loaded,
}

impl Weigher<'_> {
    /// The gate.
    pub fn gate(&self) -> &Gate {
        self.gate
    }

    /// `α`: one weight per candidate, of sum 1, from the context's vector and those of the candidates.
    ///
    /// # Errors
    /// When a vector has another length than the gate's, a weight is not finite, or the device fails.
    pub fn weights(&self, context: &[f32], tools: &[&[f32]]) -> Result<Vec<f32>, Failure> {
        let expected = self.gate.dimension();
        let mut lengths = std::iter::once(context.len()).chain(tools.iter().map(|tool| tool.len()));
        if let Some(length) = lengths.find(|length| *length != expected) {
            return Err(Failure::Data(format!(
                "the gate takes vectors of {expected} numbers, not of {length}"
            )));
        }
        if tools.len() < 2 {
            return Ok(vec![1.0; tools.len()]);
        }
        let pairs = tools.iter().map(|tool| (context, *tool)).collect::<Vec<_>>();
        let (scores, _) = self.network.forward(&pairs)?;
        let weights = softmax(&scores).into_iter().map(|weight| weight as f32).collect::<Vec<_>>();
        if weights.iter().any(|weight| !weight.is_finite()) {
            return Err(Failure::NonFinite("the gate's weights are not finite".to_owned()));
        }
        Ok(weights)
    }
}
