//! Tensors in the CPU's memory as plain slices, and the two tools that kernels over slices are made of: wide registers and matrix
//! products.
//!
//! Burn's general operations each go over memory once and allocate their result; exponentials they compute number by number. Where a pass
//! spends its time, an operation has a kernel of its own here, and Burn's operations are its twin: they check it, and they serve every
//! other device.

use std::ops::Deref;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// The numbers of a tensor in row-major order, not copied unless they lie otherwise.
pub struct Numbers(FlexTensor);

impl Numbers {
    /// `None` for a tensor that is not of f32 in the CPU's memory, or that autodiff tracks.
    pub fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        let tensor = primitive(tensor)?;
        Some(Self(if tensor.as_slice::<f32>().is_some() { tensor } else { tensor.to_contiguous() }))
    }
}

/// The tensor as the CPU's backend has it, if it does.
fn primitive<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    let tensor = tensor.clone().try_into_primitive::<Flex>().ok()?;
    (tensor.dtype() == DType::F32).then_some(tensor)
}

impl Deref for Numbers {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_slice().unwrap_or_default()
    }
}

/// Whether a tensor is of f32 in the CPU's memory and autodiff does not track it.
pub fn here<const D: usize>(tensor: &Tensor<D>) -> bool {
    primitive(tensor).is_some()
}

/// What `f` makes of a tensor's numbers, wherever it lies; in the CPU's memory they are not copied.
pub fn read<const D: usize, T>(tensor: &Tensor<D>, f: impl FnOnce(&[f32]) -> T) -> T {
    match Numbers::of(tensor) {
        Some(numbers) => f(&numbers),
        None => f(&super::to_host(tensor.clone())),
    }
}

/// Numbers as a tensor in the CPU's memory.
pub fn tensor<const D: usize>(numbers: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
}

/// The numbers of a tensor to change, in row-major order; they are its own memory where nobody else holds it.
///
/// # Errors
/// A tensor that is not of f32 in the CPU's memory, or that autodiff tracks, comes back.
#[expect(clippy::result_large_err, reason = "what comes back is what was given")]
pub fn into_numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, Tensor<D>> {
    if here(&tensor) { Ok(super::to_host(tensor)) } else { Err(tensor) }
}

/// Compiles a loop for the widest registers that the machine has. The order of its sums is as written, so its bits are the same on all.
pub fn wide<T>(run: impl FnOnce() -> T) -> T {
    pulp::Arch::new().dispatch(run)
}

/// e^x within two units in the last place from −87 to 88, and their values beyond; NaN stays NaN.
///
/// `2^n · e^r` with n the whole number nearest to `x / ln 2`; the polynomial is that of the Cephes library.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// Adding it leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let scale = f32::from_bits(shifted.to_bits().wrapping_shl(23).wrapping_add(127 << 23));
    (p * r * r + r + 1.0) * scale
}

/// Running sums that a reduction keeps, so that the loop fills wide registers.
const LANES: usize = 16;

/// `Σ f(a, b)` over two slices of one length.
#[inline(always)]
pub fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += f(a[lane], b[lane]);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += f(*a, *b);
    }
    sums.iter().sum()
}

/// The largest number of a slice; negative infinity of an empty one.
#[inline(always)]
pub fn max(a: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let (chunks, rest) = a.as_chunks::<LANES>();
    let mut tops = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            tops[lane] = larger(chunk[lane], tops[lane]);
        }
    }
    tops.iter().chain(rest).fold(f32::NEG_INFINITY, |top, &x| larger(x, top))
}

/// Turns scores into `e^(score − top)` and returns top and sum.
#[inline(always)]
pub fn exp_row(scores: &mut [f32]) -> (f32, f32) {
    let top = max(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - top);
    }
    let sum = sum2(scores, scores, |x, _| x);
    (top, sum)
}

/// A matrix whose number at (row, column) lies at `row · row_step + column · column_step`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    numbers: &'a [f32],
    layout: Layout,
}

#[derive(Clone, Copy, Debug)]
struct Layout {
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl Layout {
    fn fits(self, len: usize) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_step + (self.columns - 1) * self.column_step < len
    }
}

impl<'a> Matrix<'a> {
    /// Rows of `columns` numbers that begin `step` apart.
    ///
    /// # Panics
    /// When the slice is too short.
    pub fn new(numbers: &'a [f32], rows: usize, columns: usize, step: usize) -> Self {
        let layout = Layout { rows, columns, row_step: step, column_step: 1 };
        assert!(layout.fits(numbers.len()), "{layout:?} in {} numbers", numbers.len());
        Self { numbers, layout }
    }

    /// Rows that lie one behind the other.
    ///
    /// # Panics
    /// When the slice is too short.
    pub fn dense(numbers: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::new(numbers, rows, columns, columns)
    }

    /// How many columns it has.
    pub fn columns(self) -> usize {
        self.layout.columns
    }

    /// Its transpose.
    pub fn t(self) -> Self {
        let Layout { rows, columns, row_step, column_step } = self.layout;
        let layout = Layout { rows: columns, columns: rows, row_step: column_step, column_step: row_step };
        Self { layout, ..self }
    }
}

/// Where a product goes: rows of numbers that begin `step` apart.
#[derive(Debug)]
pub struct Target<'a> {
    numbers: &'a mut [f32],
    step: usize,
    add: bool,
}

impl<'a> Target<'a> {
    /// The product replaces what is there.
    pub fn set(numbers: &'a mut [f32], step: usize) -> Self {
        Self { numbers, step, add: false }
    }

    /// The product is added to what is there.
    pub fn add(numbers: &'a mut [f32], step: usize) -> Self {
        Self { numbers, step, add: true }
    }
}

/// Multiplications from which on a product is cut among the threads of the CPU; below, handing out work costs more than it saves.
const PARALLEL_FROM: usize = 192 * 192 * 192;

/// `factor · a b`.
///
/// # Panics
/// When the sizes do not fit together, or the target is too short.
pub fn multiply(target: Target<'_>, factor: f32, a: Matrix<'_>, b: Matrix<'_>) {
    let layout =
        Layout { rows: a.layout.rows, columns: b.layout.columns, row_step: target.step, column_step: 1 };
    assert!(
        layout.fits(target.numbers.len()) && (target.step >= layout.columns || layout.rows <= 1),
        "{layout:?}"
    );
    // SAFETY: every index that the sizes and steps allow lies within the target (`Layout::fits`), which is borrowed exclusively, and its
    // rows do not overlap.
    #[expect(unsafe_code, reason = "all bounds are checked above")]
    unsafe {
        gemm(target.numbers.as_mut_ptr(), target.step, target.add, factor, a, b);
    }
}

/// `a b` in new memory, row by row.
///
/// # Panics
/// When the sizes do not fit together.
pub fn product(a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    let len = a.layout.rows * b.layout.columns;
    if a.layout.columns == 0 {
        return vec![0.0; len];
    }
    let mut numbers = Vec::with_capacity(len);
    // SAFETY: the vector has room for all rows; a product that does not add writes every number and reads none.
    #[expect(unsafe_code, reason = "to clear memory that is written next would cost another way over it")]
    unsafe {
        gemm(numbers.as_mut_ptr(), b.layout.columns, false, 1.0, a, b);
        numbers.set_len(len);
    }
    numbers
}

/// # Safety
/// `target` must be valid for the rows of `a` and the columns of `b`, with rows `step` apart that do not overlap; where `add` is set, for
/// reading too.
#[expect(unsafe_code, reason = "the library's only interface takes pointers")]
unsafe fn gemm(target: *mut f32, step: usize, add: bool, factor: f32, a: Matrix<'_>, b: Matrix<'_>) {
    let (rows, depth, columns) = (a.layout.rows, a.layout.columns, b.layout.columns);
    assert_eq!(depth, b.layout.rows, "inner sizes");
    let large = rows.saturating_mul(depth).saturating_mul(columns) >= PARALLEL_FROM;
    let threads = if large { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    // SAFETY: the operands' bounds were checked where they were made (`Layout::fits`), the target's are the caller's promise.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            target,
            1,
            step as isize,
            add,
            a.numbers.as_ptr(),
            a.layout.column_step as isize,
            a.layout.row_step as isize,
            b.numbers.as_ptr(),
            b.layout.column_step as isize,
            b.layout.row_step as isize,
            1.0,
            factor,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exponentials_are_close_and_tame_at_the_ends() {
        let worst = (-87_000..88_000).map(|i| i as f32 / 1000.0).map(|x| {
            let expected = f64::from(x).exp();
            (f64::from(exp(x)) - expected).abs() / expected
        });
        assert!(worst.fold(0.0, f64::max) < 3e-7);
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }

    proptest! {
        #[test]
        fn products_of_any_layout(
            (rows, depth, columns) in (1_usize..9, 0_usize..9, 1_usize..9),
            slack in 0_usize..3,
            add: bool,
            turned: [bool; 2],
            seed: u32,
        ) {
            let number = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) ^ seed) as f32 / u32::MAX as f32 - 0.5;
            let fill = |len: usize, from: usize| (from..from + len).map(number).collect::<Vec<_>>();
            let operand = |numbers: &'_ [f32], rows: usize, columns: usize, turned: bool| -> Vec<Vec<f32>> {
                let at = |r: usize, c: usize| if turned { numbers[c * (rows + slack) + r] } else { numbers[r * (columns + slack) + c] };
                (0..rows).map(|r| (0..columns).map(|c| at(r, c)).collect()).collect()
            };
            fn view(numbers: &[f32], rows: usize, columns: usize, slack: usize, turned: bool) -> Matrix<'_> {
                if turned { Matrix::new(numbers, columns, rows, rows + slack).t() } else { Matrix::new(numbers, rows, columns, columns + slack) }
            }
            let a = fill((rows + slack + 1) * (depth + slack + 1), 0);
            let b = fill((columns + slack + 1) * (depth + slack + 1), 1000);
            let before = fill(rows * (columns + slack), 2000);
            let mut got = before.clone();
            let target = if add { Target::add(&mut got, columns + slack) } else { Target::set(&mut got, columns + slack) };
            multiply(target, 0.5, view(&a, rows, depth, slack, turned[0]), view(&b, depth, columns, slack, turned[1]));
            let (a, b) = (operand(&a, rows, depth, turned[0]), operand(&b, depth, columns, turned[1]));
            for (at, (got, before)) in got.iter().zip(&before).enumerate() {
                let (r, c) = (at / (columns + slack), at % (columns + slack));
                let product = || (0..depth).map(|i| a[r][i] * b[i][c]).sum::<f32>() * 0.5;
                let expected = if c < columns { product() + if add { *before } else { 0.0 } } else { *before };
                prop_assert!((got - expected).abs() < 1e-5, "at {at}: {got}, expected {expected}");
            }
        }
    }
}
