//! A bank: adapters of one shape held together, each in a slot, ready to be multiplied.

use std::sync::Arc;

use burn::tensor::{Device, TensorData};
use jobs_lm::Rows;
use rayon::prelude::*;

use crate::{AdamW, Adapter, AdapterShape, Gradients, Moments, NonFinite};

/// The place of one adapter in a [`Bank`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub(crate) usize);

impl std::fmt::Display for SlotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

/// Why a bank refuses.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BankError {
    /// The slot holds no adapter (any more).
    #[error("{0} holds no adapter")]
    Empty(SlotId),
    /// The adapter has another rank, alpha, or other sites than the bank.
    #[error("the adapter's shape is not that of the bank")]
    Shape,
    /// The gradient could not be used; the adapter kept its bytes.
    #[error("{0}: {1}")]
    NonFinite(SlotId, NonFinite),
}

/// `A` and `B` of one site on the device.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// `[r, d_in]`, or `[n·r, d_in]` of several adapters.
    pub(crate) a: Rows,
    /// `[d_out, r]`, or `[d_out, n·r]` of several adapters.
    pub(crate) b: Rows,
}

/// One step of one slot.
#[derive(Debug)]
pub struct Step<'a> {
    /// The slot.
    pub slot: SlotId,
    /// The optimiser.
    pub optimizer: AdamW,
    /// The learning rate of this step.
    pub rate: f64,
    /// The gradients of the pass that the slot took part in.
    pub gradients: &'a Gradients,
    /// The slot's moments, with its clock.
    pub moments: &'a mut Moments,
}

#[derive(Debug)]
struct Occupant {
    adapter: Adapter,
    /// The adapter's matrices on the device, in the order of the shape's sites.
    pairs: Vec<Pair>,
}

impl Occupant {
    fn step(&mut self, device: &Device, step: Step<'_>) -> Result<f64, BankError> {
        let Step { slot, optimizer, rate, gradients, moments } = step;
        let gradient = gradients.flat(slot, self.adapter.shape());
        let norm = optimizer
            .step(rate, self.adapter.values_mut(), &gradient, moments)
            .map_err(|error| BankError::NonFinite(slot, error))?;
        self.pairs = pairs(&self.adapter, device);
        Ok(norm)
    }
}

/// Adapters of one shape in slots. The host copy is the truth; the device copy follows it.
#[derive(Debug)]
pub struct Bank {
    shape: Arc<AdapterShape>,
    device: Device,
    slots: Vec<Option<Occupant>>,
}

impl Bank {
    /// An empty bank on a device.
    pub fn new(shape: &Arc<AdapterShape>, device: &Device) -> Self {
        Self { shape: Arc::clone(shape), device: device.clone(), slots: Vec::new() }
    }

    /// The shape of its adapters.
    pub fn shape(&self) -> &Arc<AdapterShape> {
        &self.shape
    }

    /// Where its adapters are multiplied.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Puts an adapter into the first free slot, or into a new one.
    ///
    /// # Errors
    /// When its shape is not the bank's.
    pub fn insert(&mut self, adapter: Adapter) -> Result<SlotId, BankError> {
        if adapter.shape() != &self.shape {
            return Err(BankError::Shape);
        }
        let pairs = pairs(&adapter, &self.device);
        let occupant = Some(Occupant { adapter, pairs });
        if let Some(free) = self.slots.iter().position(Option::is_none) {
            self.slots[free] = occupant;
            return Ok(SlotId(free));
        }
        self.slots.push(occupant);
        Ok(SlotId(self.slots.len() - 1))
    }

    /// Takes an adapter out; its slot is free afterwards.
    ///
    /// # Errors
    /// When the slot is empty.
    pub fn take(&mut self, slot: SlotId) -> Result<Adapter, BankError> {
        let place = self.slots.get_mut(slot.0).and_then(Option::take);
        place.map(|occupant| occupant.adapter).ok_or(BankError::Empty(slot))
    }

    /// The adapter in a slot.
    ///
    /// # Errors
    /// When the slot is empty.
    pub fn adapter(&self, slot: SlotId) -> Result<&Adapter, BankError> {
        self.occupant(slot).map(|occupant| &occupant.adapter)
    }

    /// One AdamW step of one slot at learning rate `rate`; every other slot keeps its bytes. Returns the gradient's norm before clipping.
    ///
    /// # Errors
    /// When the slot is empty or the gradient not finite; then nothing has changed.
    pub fn step(
        &mut self,
        slot: SlotId,
        optimizer: &AdamW,
        rate: f64,
        gradients: &Gradients,
        moments: &mut Moments,
    ) -> Result<f64, BankError> {
        let place = self.slots.get_mut(slot.0).and_then(Option::as_mut);
        let occupant = place.ok_or(BankError::Empty(slot))?;
        occupant.step(&self.device, Step { slot, optimizer: *optimizer, rate, gradients, moments })
    }

    /// Steps of different slots side by side, each as by [`Bank::step`]; a slot that is named again counts as empty.
    pub fn steps(&mut self, steps: Vec<Step<'_>>) -> Vec<Result<f64, BankError>> {
        let mut occupants: Vec<_> = self.slots.iter_mut().map(Option::as_mut).collect();
        let mut occupant = |slot: SlotId| {
            let place = occupants.get_mut(slot.0).and_then(Option::take);
            place.ok_or(BankError::Empty(slot))
        };
        let steps: Vec<_> = steps.into_iter().map(|step| (occupant(step.slot), step)).collect();
        let device = &self.device;
        steps.into_par_iter().map(|(occupant, step)| occupant?.step(device, step)).collect()
    }

    /// The matrices of a slot, in the order of the shape's sites.
    pub(crate) fn pairs(&self, slot: SlotId) -> Result<&[Pair], BankError> {
        self.occupant(slot).map(|occupant| occupant.pairs.as_slice())
    }

    fn occupant(&self, slot: SlotId) -> Result<&Occupant, BankError> {
        self.slots.get(slot.0).and_then(Option::as_ref).ok_or(BankError::Empty(slot))
    }
}

fn pairs(adapter: &Adapter, device: &Device) -> Vec<Pair> {
    let rank = adapter.shape().rank();
    let matrix =
        |values: &[f32], dims: [usize; 2]| Rows::from_data(TensorData::new(values.to_vec(), dims), device);
    let sites = adapter.shape().sites().iter().enumerate();
    sites
        .map(|(index, site)| Pair {
            a: matrix(adapter.a(index), [rank, site.d_in]),
            b: matrix(adapter.b(index), [site.d_out, rank]),
        })
        .collect()
}
