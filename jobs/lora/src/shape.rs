//! The shape of an adapter: its rank, its alpha, and the places in the base model where it adds something.

use std::ops::Range;

use jobs_lm::adapt::{Projection, Site};

/// One adapted projection and its size in the base model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteShape {
    /// The projection.
    pub site: Site,
    /// Features that enter it.
    pub d_in: usize,
    /// Features that leave it.
    pub d_out: usize,
}

/// Why a shape cannot exist.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShapeError {
    /// An adapter of rank 0 adds nothing.
    #[error("adapter rank must be at least 1")]
    ZeroRank,
    /// No site at all.
    #[error("an adapter needs at least one adapted projection")]
    NoSites,
    /// Two entries for one projection.
    #[error("layer {} names {:?} twice", .0.layer, .0.projection)]
    Repeated(Site),
    /// A projection that the base model lacks.
    #[error("the base model has no {:?} in layer {}", .0.projection, .0.layer)]
    NotInBase(Site),
}

/// Rank, alpha and sites of an adapter. It also fixes the order of an adapter's numbers: site after site in ascending order, each as
/// `A` (`[r, d_in]`, row-major) followed by `B` (`[d_out, r]`, row-major).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterShape {
    rank: usize,
    alpha: u32,
    sites: Vec<SiteShape>,
    offsets: Vec<usize>,
}

impl AdapterShape {
    /// A shape from its sites, in any order.
    ///
    /// # Errors
    /// When the rank is 0, or the sites are none or not distinct.
    pub fn new(rank: usize, alpha: u32, mut sites: Vec<SiteShape>) -> Result<Self, ShapeError> {
        if rank == 0 {
            return Err(ShapeError::ZeroRank);
        }
        if sites.is_empty() {
            return Err(ShapeError::NoSites);
        }
        sites.sort_by_key(|s| s.site);
        if let Some(pair) = sites.windows(2).find(|pair| pair[0].site == pair[1].site) {
            return Err(ShapeError::Repeated(pair[0].site));
        }
        let mut offsets = Vec::with_capacity(sites.len() + 1);
        let mut end = 0;
        offsets.push(end);
        for site in &sites {
            end += rank * (site.d_in + site.d_out);
            offsets.push(end);
        }
        Ok(Self { rank, alpha, sites, offsets })
    }

    /// The same projections in every layer of a base model, whose sizes `dims` gives as `(d_in, d_out)`.
    ///
    /// # Errors
    /// As [`AdapterShape::new`], and when the base lacks one of the projections.
    pub fn targeting(
        rank: usize,
        alpha: u32,
        layers: usize,
        projections: &[Projection],
        dims: impl Fn(Site) -> Option<(usize, usize)>,
    ) -> Result<Self, ShapeError> {
        let sites = (0..layers)
            .flat_map(|layer| projections.iter().map(move |&projection| Site { layer, projection }))
            .map(|site| {
                let (d_in, d_out) = dims(site).ok_or(ShapeError::NotInBase(site))?;
                Ok(SiteShape { site, d_in, d_out })
            })
            .collect::<Result<_, _>>()?;
        Self::new(rank, alpha, sites)
    }

    /// Rank `r`.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Alpha, of which the scale is made.
    pub fn alpha(&self) -> u32 {
        self.alpha
    }

    /// `α / r`, the factor of the low-rank product.
    #[expect(clippy::cast_precision_loss, reason = "ranks and alphas are small integers")]
    pub fn scale(&self) -> f32 {
        self.alpha as f32 / self.rank as f32
    }

    /// The adapted projections in ascending order.
    pub fn sites(&self) -> &[SiteShape] {
        &self.sites
    }

    /// Position of a projection in [`AdapterShape::sites`].
    pub fn index(&self, site: Site) -> Option<usize> {
        self.sites.binary_search_by_key(&site, |s| s.site).ok()
    }

    /// How many numbers an adapter of this shape has.
    pub fn parameters(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Where `A` and `B` of the site at `index` (of [`AdapterShape::sites`]) lie among an adapter's numbers.
    pub(crate) fn ranges(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let (start, end) = (self.offsets[index], self.offsets[index + 1]);
        let middle = start + self.rank * self.sites[index].d_in;
        (start..middle, middle..end)
    }
}
