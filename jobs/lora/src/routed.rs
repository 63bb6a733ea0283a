//! Which adapters serve which rows of a pass, and the adapted projections that follow from it.
//!
//! Every product here covers the rows of one segment, never more: a segment's results and its adapters' gradients then depend on that
//! segment alone, to the last bit, whatever else shares the pass.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::TensorData;
use jobs_lm::Rows;
use jobs_lm::adapt::{Adapters, Site};
use rayon::prelude::*;

use crate::bank::Pair;
use crate::{AdapterShape, Bank, BankError, SlotId};

/// Which slots, with which weights, serve which rows. In the fan each segment has one slot of weight 1; in finetuning and inference it
/// has the gate's candidates. Rows of no segment get the base model alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    routes: Vec<Route>,
}

#[derive(Clone, Debug, PartialEq)]
struct Route {
    rows: Range<usize>,
    candidates: Vec<(SlotId, f32)>,
}

impl Routing {
    /// No row is adapted.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same candidates for every row of every call, as in generation, where rows come in one by one.
    pub fn everywhere(candidates: Vec<(SlotId, f32)>) -> Self {
        let mut routing = Self::new();
        routing.push(0..usize::MAX, candidates);
        routing
    }

    /// Adds a segment; segments come in ascending order and do not overlap. Candidates of weight 0 are left out, so they cost nothing
    /// and change no bit.
    pub fn push(&mut self, rows: Range<usize>, mut candidates: Vec<(SlotId, f32)>) {
        candidates.retain(|(_, weight)| *weight != 0.0);
        if !candidates.is_empty() {
            self.routes.push(Route { rows, candidates });
        }
    }
}

/// Gradients of the slots that took part in a pass.
#[derive(Debug, Default)]
pub struct Gradients {
    slots: BTreeMap<SlotId, Vec<Option<Pair>>>,
}

impl Gradients {
    /// The slots that have a gradient, in ascending order.
    pub fn slots(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.slots.keys().copied()
    }

    /// The gradient of one slot as plain numbers in the layout of `shape`; zero where nothing flowed.
    pub fn flat(&self, slot: SlotId, shape: &AdapterShape) -> Vec<f32> {
        let mut flat = vec![0.0; shape.parameters()];
        let pairs = self.slots.get(&slot).into_iter().flatten().enumerate();
        for (index, pair) in pairs.filter_map(|(index, pair)| Some((index, pair.as_ref()?))) {
            let (a, b) = shape.ranges(index);
            copy(&pair.a, &mut flat[a]);
            copy(&pair.b, &mut flat[b]);
        }
        flat
    }

    /// Adds the gradients of another pass, as when a step accumulates several.
    pub fn merge(&mut self, other: Self) {
        for (slot, pairs) in other.slots {
            for (index, pair) in pairs.into_iter().enumerate() {
                if let Some(pair) = pair {
                    self.add(slot, index, pair);
                }
            }
        }
    }

    fn add(&mut self, slot: SlotId, index: usize, pair: Pair) {
        let pairs = self.slots.entry(slot).or_default();
        if pairs.len() <= index {
            pairs.resize(index + 1, None);
        }
        pairs[index] = Some(match pairs[index].take() {
            Some(sum) => Pair { a: sum.a + pair.a, b: sum.b + pair.b },
            None => pair,
        });
    }
}

#[expect(clippy::expect_used, reason = "gradients are f32; a device that fails cannot go on")]
fn copy(from: &Rows, to: &mut [f32]) {
    let values: Vec<f32> = from.clone().try_into_vec_as().expect("f32 gradients on a working device");
    to.copy_from_slice(&values);
}

/// A bank as one pass sees it: matrices chosen by a [`Routing`], and the gradients that the pass leaves behind.
#[derive(Debug)]
pub struct RoutedBank {
    shape: Arc<AdapterShape>,
    segments: Vec<Segment>,
    gradients: Gradients,
}

/// The candidates of some rows, joined to one wide adapter: the matrices of all candidates side by side.
#[derive(Debug)]
struct Segment {
    rows: Range<usize>,
    candidates: Vec<SlotId>,
    /// What each column of the low-rank middle is multiplied by, `w · α/r`: `[1, n·r]`.
    scale: Rows,
    pairs: Vec<Pair>,
}

impl RoutedBank {
    /// The bank under a routing. Holds the matrices as they are now: a later step of the bank does not reach it.
    ///
    /// # Errors
    /// When the routing names an empty slot.
    pub fn new(bank: &Bank, routing: &Routing) -> Result<Self, BankError> {
        let segments =
            routing.routes.iter().map(|route| Segment::new(bank, route)).collect::<Result<_, _>>()?;
        Ok(Self { shape: Arc::clone(bank.shape()), segments, gradients: Gradients::default() })
    }

    /// The gradients that the backward calls have left.
    pub fn into_gradients(self) -> Gradients {
        self.gradients
    }

    /// `rows + change` on the rows of each segment, other rows as they are; and what else `change` gives, in the order of the segments.
    /// Segments run side by side: their products are too small to fill several cores one by one.
    fn amend<T: Send>(
        &self,
        rows: Rows,
        change: impl Fn(&Segment, Range<usize>) -> (Rows, T) + Sync,
    ) -> (Rows, Vec<T>) {
        let [count, width] = rows.dims();
        let clipped = self.segments.iter().map(|s| (s, s.rows.start.min(count)..s.rows.end.min(count)));
        let touched = clipped.filter(|(_, range)| !range.is_empty()).collect::<Vec<_>>();
        if touched.is_empty() {
            return (rows, Vec::new());
        }
        let changed = touched.par_iter().map(|(segment, range)| {
            let (change, extra) = change(segment, range.clone());
            (rows.clone().slice([range.clone(), 0..width]) + change, extra)
        });
        let mut parts = Vec::with_capacity(touched.len());
        let mut extras = Vec::with_capacity(touched.len());
        let mut done = 0;
        for ((part, extra), (_, range)) in changed.collect::<Vec<_>>().into_iter().zip(&touched) {
            if done < range.start {
                parts.push(rows.clone().slice([done..range.start, 0..width]));
            }
            parts.push(part);
            extras.push(extra);
            done = range.end;
        }
        if done < count {
            parts.push(rows.slice([done..count, 0..width]));
        }
        let rows = if parts.len() == 1 { parts.remove(0) } else { Rows::cat(parts, 0) };
        (rows, extras)
    }
}

impl Segment {
    fn new(bank: &Bank, route: &Route) -> Result<Self, BankError> {
        let (shape, rank) = (bank.shape(), bank.shape().rank());
        let columns =
            route.candidates.iter().flat_map(|(_, weight)| std::iter::repeat_n(weight * shape.scale(), rank));
        let columns = TensorData::new(columns.collect(), [1, route.candidates.len() * rank]);
        let scale = Rows::from_data(columns, bank.device());
        let candidates = route.candidates.iter().map(|(slot, _)| *slot).collect::<Vec<_>>();
        let owned = candidates.iter().map(|slot| bank.pairs(*slot)).collect::<Result<Vec<_>, _>>()?;
        let pairs = if let [pairs] = owned.as_slice() {
            pairs.to_vec()
        } else {
            let wide = |index: usize| Pair {
                a: Rows::cat(owned.iter().map(|pairs| pairs[index].a.clone()).collect(), 0),
                b: Rows::cat(owned.iter().map(|pairs| pairs[index].b.clone()).collect(), 1),
            };
            (0..shape.sites().len()).map(wide).collect()
        };
        Ok(Self { rows: route.rows.clone(), candidates, scale, pairs })
    }

    /// The scaled middle `x Aᵀ`: `[rows, n·r]`.
    fn middle(&self, index: usize, x: Rows) -> Rows {
        x.matmul(self.pairs[index].a.clone().transpose()) * self.scale.clone()
    }

    /// The wide pair of gradients cut into those of the candidates.
    fn split(&self, rank: usize, wide: Pair) -> Vec<(SlotId, Pair)> {
        if let [slot] = self.candidates.as_slice() {
            return vec![(*slot, wide)];
        }
        let columns = self.candidates.iter().enumerate();
        columns
            .map(|(i, slot)| {
                let range = i * rank..(i + 1) * rank;
                let a = wide.a.clone().slice([range.clone(), 0..wide.a.dims()[1]]);
                let b = wide.b.clone().slice([0..wide.b.dims()[0], range]);
                (*slot, Pair { a, b })
            })
            .collect()
    }
}

impl Adapters for RoutedBank {
    fn adapts(&self, site: Site) -> bool {
        !self.segments.is_empty() && self.shape.index(site).is_some()
    }

    fn forward(&self, site: Site, x: &Rows, base: Rows) -> Rows {
        let Some(index) = self.shape.index(site) else { return base };
        let d_in = x.dims()[1];
        let change = |segment: &Segment, rows| {
            let middle = segment.middle(index, x.clone().slice([rows, 0..d_in]));
            (middle.matmul(segment.pairs[index].b.clone().transpose()), ())
        };
        self.amend(base, change).0
    }

    fn backward(&mut self, site: Site, x: &Rows, dy: &Rows, dx: Rows) -> Rows {
        let Some(index) = self.shape.index(site) else { return dx };
        let (d_in, d_out) = (x.dims()[1], dy.dims()[1]);
        let change = |segment: &Segment, rows: Range<usize>| {
            let pair = &segment.pairs[index];
            let x = x.clone().slice([rows.clone(), 0..d_in]);
            let dy = dy.clone().slice([rows, 0..d_out]);
            let middle = segment.middle(index, x.clone());
            let d_middle = dy.clone().matmul(pair.b.clone()) * segment.scale.clone();
            let wide = Pair { a: d_middle.clone().transpose().matmul(x), b: dy.transpose().matmul(middle) };
            (d_middle.matmul(pair.a.clone()), segment.split(self.shape.rank(), wide))
        };
        let (dx, found) = self.amend(dx, change);
        for (slot, pair) in found.into_iter().flatten() {
            self.gradients.add(slot, index, pair);
        }
        dx
    }
}
