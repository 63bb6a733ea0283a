//! The shape of an adapter: its rank, its alpha, and the places in the base model where it adds something.

use std::fmt;
use std::ops::Range;

use jobs_lm::adapt::Site;
use jobs_spec::model::{ModelConfig, Projection};

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

impl SiteShape {
    /// A projection of a base model; `None` when the model has no such layer.
    pub fn of(site: Site, base: &ModelConfig) -> Option<Self> {
        let (d_in, d_out) = base.dims(site.projection);
        (site.layer < base.layers).then_some(Self { site, d_in, d_out })
    }
}

/// Why a shape cannot exist.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
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
}

/// Rank, alpha and sites of an adapter. It also fixes the order of an adapter's numbers: site after site in ascending order, each as
/// `A` (`[r, d_in]`, row-major) followed by `B` (`[d_out, r]`, row-major).
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterShape {
    rank: usize,
    alpha: f64,
    sites: Vec<SiteShape>,
    offsets: Vec<usize>,
}

impl AdapterShape {
    /// A shape from its sites, in any order.
    ///
    /// # Errors
    /// When the rank is 0, or the sites are none or not distinct.
    pub fn new(rank: usize, alpha: f64, mut sites: Vec<SiteShape>) -> Result<Self, ShapeError> {
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

    /// The same projections in every layer of a base model.
    ///
    /// # Errors
    /// As [`AdapterShape::new`].
    pub fn targeting(
        rank: usize,
        alpha: f64,
        projections: &[Projection],
        base: &ModelConfig,
    ) -> Result<Self, ShapeError> {
        let layers = 0..base.layers;
        let sites =
            layers.flat_map(|layer| projections.iter().map(move |&projection| Site { layer, projection }));
        Self::new(rank, alpha, sites.filter_map(|site| SiteShape::of(site, base)).collect())
    }

    /// Rank `r`.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Alpha, of which the scale is made.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// `α / r`, the factor of the low-rank product.
    pub fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
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

/// Rank, alpha and every site with its sizes, in order: equal texts mean that the same numbers mean the same.
impl fmt::Display for AdapterShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an adapter of rank {} and alpha {} at", self.rank, self.alpha)?;
        for SiteShape { site, d_in, d_out } in &self.sites {
            write!(f, " layers.{}.{} {d_in}>{d_out}", site.layer, site.projection.path())?;
        }
        Ok(())
    }
}
