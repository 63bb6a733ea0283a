//! Which adapters serve which rows of a pass, and the adapted projections that follow from it.
//!
//! Every product here covers the rows of one segment, never more: a segment's results and its adapters' gradients then depend on that
//! segment alone, to the last bit, whatever else shares the pass.

mod twin;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jobs_lm::Rows;
use jobs_lm::adapt::{Adapters, Site};
use jobs_lm::ops::host::{self, Matrix, Numbers, Target, multiply};

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
            host::read(&pair.a, |numbers| flat[a].copy_from_slice(numbers));
            host::read(&pair.b, |numbers| flat[b].copy_from_slice(numbers));
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
    /// What each of the `n·r` columns of the low-rank middle is multiplied by: `w · α/r`.
    columns: Vec<f32>,
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

    /// The segments that reach into a pass of `count` rows, and which rows are theirs.
    fn touched(&self, count: usize) -> impl Iterator<Item = (&Segment, Range<usize>)> {
        let clipped = self.segments.iter().map(move |s| (s, s.rows.start.min(count)..s.rows.end.min(count)));
        clipped.filter(|(_, rows)| !rows.is_empty())
    }
}

impl Segment {
    fn new(bank: &Bank, route: &Route) -> Result<Self, BankError> {
        let (shape, rank) = (bank.shape(), bank.shape().rank());
        let columns =
            route.candidates.iter().flat_map(|(_, weight)| std::iter::repeat_n(weight * shape.scale(), rank));
        let columns = columns.collect();
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
        Ok(Self { rows: route.rows.clone(), candidates, columns, pairs })
    }

    /// The scaled middle of `x` and a matrix of `n·r` columns: `[rows, n·r]`.
    fn middle(&self, x: Matrix<'_>, wide: Matrix<'_>) -> Vec<f32> {
        let mut middle = host::product(x, wide);
        host::wide(|| {
            for row in middle.chunks_exact_mut(self.columns.len()) {
                row.iter_mut().zip(&self.columns).for_each(|(x, factor)| *x *= factor);
            }
        });
        middle
    }

    /// Adds the change of this segment's rows to `y`.
    fn forward(&self, pair: &Pair, x: &[f32], y: &mut [f32]) {
        let ([wide, d_in], [d_out, _]) = (pair.a.dims(), pair.b.dims());
        let (a, b, rows) = (numbers(&pair.a), numbers(&pair.b), x.len() / d_in);
        let middle = self.middle(Matrix::dense(x, rows, d_in), Matrix::dense(&a, wide, d_in).t());
        let middle = Matrix::dense(&middle, rows, wide);
        multiply(Target::add(y, d_out), 1.0, middle, Matrix::dense(&b, d_out, wide).t());
    }

    /// Adds the gradient of this segment's rows to `dx`; returns that of the pair.
    fn backward(&self, pair: &Pair, x: &[f32], dy: &[f32], dx: &mut [f32]) -> Pair {
        let ([wide, d_in], [d_out, _]) = (pair.a.dims(), pair.b.dims());
        let (a, b, rows) = (numbers(&pair.a), numbers(&pair.b), x.len() / d_in);
        let (x, dy) = (Matrix::dense(x, rows, d_in), Matrix::dense(dy, rows, d_out));
        let a = Matrix::dense(&a, wide, d_in);
        let middle = self.middle(x, a.t());
        let d_middle = self.middle(dy, Matrix::dense(&b, d_out, wide));
        let (middle, d_middle) = (Matrix::dense(&middle, rows, wide), Matrix::dense(&d_middle, rows, wide));
        let (da, db) = (host::product(d_middle.t(), x), host::product(dy.t(), middle));
        multiply(Target::add(dx, d_in), 1.0, d_middle, a);
        Pair { a: host::tensor(da, [wide, d_in]), b: host::tensor(db, [d_out, wide]) }
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

#[expect(clippy::expect_used, reason = "a bank lies where the rows of its passes lie")]
fn numbers(matrix: &Rows) -> Numbers {
    Numbers::of(matrix).expect("a matrix in the memory of its rows")
}

impl Adapters for RoutedBank {
    fn adapts(&self, site: Site) -> bool {
        !self.segments.is_empty() && self.shape.index(site).is_some()
    }

    fn forward(&self, site: Site, x: &Rows, base: Rows) -> Rows {
        let Some(index) = self.shape.index(site) else { return base };
        let ([count, d_in], [_, d_out]) = (x.dims(), base.dims());
        let Some(x_numbers) = Numbers::of(x) else { return twin::forward(self, index, x, base) };
        let mut y = match host::into_numbers(base) {
            Ok(y) => y,
            Err(base) => return twin::forward(self, index, x, base),
        };
        for (segment, rows) in self.touched(count) {
            let x = &x_numbers[rows.start * d_in..rows.end * d_in];
            segment.forward(&segment.pairs[index], x, &mut y[rows.start * d_out..rows.end * d_out]);
        }
        host::tensor(y, [count, d_out])
    }

    fn backward(&mut self, site: Site, x: &Rows, dy: &Rows, dx: Rows) -> Rows {
        let Some(index) = self.shape.index(site) else { return dx };
        let ([count, d_in], [_, d_out]) = (x.dims(), dy.dims());
        let (Some(x_numbers), Some(dy_numbers)) = (Numbers::of(x), Numbers::of(dy)) else {
            return twin::backward(self, index, x, dy, dx);
        };
        let mut sum = match host::into_numbers(dx) {
            Ok(sum) => sum,
            Err(dx) => return twin::backward(self, index, x, dy, dx),
        };
        let mut found = Vec::new();
        for (segment, rows) in self.touched(count) {
            let x = &x_numbers[rows.start * d_in..rows.end * d_in];
            let dy = &dy_numbers[rows.start * d_out..rows.end * d_out];
            let dx = &mut sum[rows.start * d_in..rows.end * d_in];
            let wide = segment.backward(&segment.pairs[index], x, dy, dx);
            found.extend(segment.split(self.shape.rank(), wide));
        }
        for (slot, pair) in found {
            self.gradients.add(slot, index, pair);
        }
        host::tensor(sum, [count, d_in])
    }
}
