//! The kernel: rows of blocks of `N` weights.
#![allow(clippy::inline_always, reason = "kernels are compiled into their caller's instruction set, see dispatch.rs")]

use super::{NBits, Scales, pack_pairs};
use crate::quant::lanes::{Kernel, Simd, low_byte};
use crate::quant::search_block::{FitBlock, block_importance, symmetric_grid};

/// Rounds of codes and least squares after the search, whose scales have the precision of F16.
const N_REFINEMENTS: usize = 2;

/// Encodes rows whose lengths were checked.
pub(super) struct EncodeRows<'a, const N: usize> {
    pub(super) n_bits: NBits,
    pub(super) weights: &'a [f32],
    pub(super) row_len: usize,
    pub(super) importances: Option<&'a [f32]>,
    pub(super) codes: &'a mut [u8],
    pub(super) scales: &'a mut [u8],
}

impl<const N: usize> Kernel for EncodeRows<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let half = f32::from(1_u8 << (self.n_bits.bits() - 1));
        let mut blobs = self.codes.chunks_exact_mut(self.n_bits.blob_bytes());
        let mut scales = self.scales.as_chunks_mut::<4>().0.iter_mut();
        for row in self.weights.chunks_exact(self.row_len) {
            for (block_idx, weights) in row.chunks(N).enumerate() {
                let x: [f32; N] = filled(weights, 0.0);
                let mut block = extreme(&x, half);
                if self.n_bits.scales == Scales::Searched {
                    let own = self.importances.and_then(|all| all.get(block_idx * N..)).map(|rest| &rest[..weights.len()]);
                    let columns = own.map(|own| filled::<N>(own, 0.0));
                    block = searched(simd, &x, columns.as_ref(), half, block);
                }
                let (Some(blob), Some(scale)) = (blobs.next(), scales.next()) else { return };
                *scale = block.scale.to_le_bytes();
                if self.n_bits.bits() == 4 { pack_pairs(&block.q, blob) } else { blob.copy_from_slice(&block.q) }
            }
        }
    }
}

/// The start of a row's last block, filled up.
#[inline(always)]
fn filled<const N: usize>(numbers: &[f32], rest: f32) -> [f32; N] {
    let mut block = [rest; N];
    block[..numbers.len()].copy_from_slice(numbers);
    block
}

/// A block as it will be decoded.
#[derive(Clone, Copy)]
struct Block<const N: usize> {
    scale: f32,
    q: [u8; N],
}

/// The largest magnitude becomes the lowest code; others are rounded to the nearest one, halves upwards.
#[inline(always)]
fn extreme<const N: usize>(x: &[f32; N], half: f32) -> Block<N> {
    let (mut low, mut high) = (0.0_f32, 0.0_f32);
    for &weight in x {
        low = if weight < low { weight } else { low };
        high = if weight > high { weight } else { high };
    }
    let scale = if high > -low { high } else { low } / -half;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut q = [0; N];
    for (q, weight) in q.iter_mut().zip(x) {
        let code = (weight * inverse + (half + 0.5)).clamp(0.0, 2.0 * half - 1.0);
        // Cut off, not rounded: the half is added above.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 255")]
        let code = code as u8;
        *q = code;
    }
    Block { scale, q }
}

/// A better block than `plain`, where there is one.
#[inline(always)]
fn searched<S: Simd, const N: usize>(simd: S, x: &[f32; N], columns: Option<&[f32; N]>, half: f32, plain: Block<N>) -> Block<N> {
    let w = block_importance(simd, x, columns);
    let mut best = plain;
    let mut least = error(x, &w, half, &plain);
    let (mut scale, _) = simd.call(FitBlock { x, w: &w, grid: symmetric_grid(half) });
    for _ in 0..=N_REFINEMENTS {
        if scale == 0.0 {
            break;
        }
        let block = Block { scale, q: nearest(x, scale, half) };
        let found = error(x, &w, half, &block);
        if found < least {
            (best, least) = (block, found);
        }
        scale = fitted(x, &w, half, &block);
    }
    best
}

/// The nearest code to each weight.
#[inline(always)]
fn nearest<const N: usize>(x: &[f32; N], scale: f32, half: f32) -> [u8; N] {
    let inverse = 1.0 / scale;
    let mut q = [0; N];
    for (q, weight) in q.iter_mut().zip(x) {
        *q = low_byte((weight * inverse + half).clamp(0.0, 2.0 * half - 1.0));
    }
    q
}

/// The weighted squared error of a block.
#[inline(always)]
fn error<const N: usize>(x: &[f32; N], w: &[f32; N], half: f32, block: &Block<N>) -> f32 {
    let mut errors = [0.0; N];
    for i in 0..N {
        let difference = block.scale * (f32::from(block.q[i]) - half) - x[i];
        errors[i] = w[i] * difference * difference;
    }
    sum(&errors)
}

/// The scale of least weighted squared error for the codes of a block.
#[inline(always)]
fn fitted<const N: usize>(x: &[f32; N], w: &[f32; N], half: f32, block: &Block<N>) -> f32 {
    let (mut xl, mut ll) = ([0.0; N], [0.0; N]);
    for i in 0..N {
        let level = f32::from(block.q[i]) - half;
        xl[i] = w[i] * level * x[i];
        ll[i] = w[i] * level * level;
    }
    let ll = sum(&ll);
    if ll > 0.0 { sum(&xl) / ll } else { 0.0 }
}

/// A sum whose order does not depend on the instruction set.
#[inline(always)]
fn sum<const N: usize>(numbers: &[f32; N]) -> f32 {
    let mut lanes = [0.0; 8];
    for chunk in numbers.as_chunks::<8>().0 {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            *lane += number;
        }
    }
    lanes.iter().sum()
}
