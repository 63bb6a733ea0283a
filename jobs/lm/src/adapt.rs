//! The seam between the frozen decoder and whatever is added to its projections.

use jobs_spec::model::Projection;

use crate::Rows;

/// One projection of one layer: the place of an adapter's pair of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// Layer index from 0.
    pub layer: usize,
    /// Which projection of that layer.
    pub projection: Projection,
}

/// Low-rank additions to the decoder's projections. The decoder calls these at every [`Site`] and knows nothing of banks or routing.
pub trait Adapters {
    /// Whether any row is adapted at this site; the decoder keeps the site's input for [`Adapters::backward`] only then.
    fn adapts(&self, site: Site) -> bool;

    /// `base + Δ(x)`, with `x` of shape `[rows, d_in]` and `base` of shape `[rows, d_out]`.
    fn forward(&self, site: Site, x: &Rows, base: Rows) -> Rows;

    /// Adds this site's parameter gradients to the implementor's own accumulators and returns `dx + Δᵀ(dy)`, with `x` the input that
    /// [`Adapters::forward`] saw, `dy` of shape `[rows, d_out]` and `dx` of shape `[rows, d_in]`.
    fn backward(&mut self, site: Site, x: &Rows, dy: &Rows, dx: Rows) -> Rows;
}

/// The plain base model: nothing is adapted.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAdapters;

impl Adapters for NoAdapters {
    fn adapts(&self, _: Site) -> bool {
        false
    }

    fn forward(&self, _: Site, _: &Rows, base: Rows) -> Rows {
        base
    }

    fn backward(&mut self, _: Site, _: &Rows, _: &Rows, dx: Rows) -> Rows {
        dx
    }
}
