//! Numbers of four and eight bits: E2M1 and E4M3 for weights, E8M0 and E4M3 for scales.
//!
//! Source: OCP Microscaling Formats v1.0, section 5.3; E4M3 is that of `torch.float8_e4m3fn`: no infinity, and NaN is 127 of
//! either sign.

use super::packing::Code;

/// Largest number of E2M1.
pub(super) const E2M1_MAX: f32 = 6.0;

/// Largest number of E4M3.
pub(super) const E4M3_MAX: f32 = 448.0;

/// Half way between neighbours of 0, 0.5, 1, 1.5, 2, 3, 4 and 6.
const E2M1_MIDDLES: [f32; 7] = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0];

const E2M1_NUMBERS: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

const E4M3_NUMBERS: [f32; 256] = e4m3_table();

/// The nearest E2M1, ties towards zero; numbers beyond the largest one become the largest. What rounds to zero loses its sign.
pub(super) struct E2M1;

impl Code for E2M1 {
    #[inline(always)]
    fn of(number: f32) -> u32 {
        let magnitude = number.abs();
        let mut code = 0;
        for middle in E2M1_MIDDLES {
            code += u32::from(magnitude > middle);
        }
        let sign = number.to_bits() >> 28 & 8;
        if code == 0 { 0 } else { code | sign }
    }
}

/// The number that the low four bits stand for.
#[inline(always)]
pub(super) fn decode_e2m1(code: u8) -> f32 {
    E2M1_NUMBERS[usize::from(code & 15)]
}

/// The nearest E4M3, ties to even; numbers beyond the largest one become the largest. Zero keeps its sign.
pub(super) struct E4M3;

impl Code for E4M3 {
    #[inline(always)]
    fn of(number: f32) -> u32 {
        let magnitude = number.to_bits() & 0x7fff_ffff;
        // Three bits of the fraction are kept, the bias of the exponent falls from 127 to 7.
        let normal = (magnitude.wrapping_add(0x7_ffff + (magnitude >> 20 & 1)) >> 20).wrapping_sub(120 << 3);
        // Below 2^-6, numbers are multiples of 2^-9: the last place of 2^14.
        let subnormal = (f32::from_bits(magnitude) + 16384.0).to_bits() & 15;
        let code = if magnitude < (121 << 23) { subnormal } else { normal.min(0x7e) };
        code | (number.to_bits() >> 24 & 0x80)
    }
}

/// The number that an E4M3 stands for; NaN for 127 and 255.
#[inline(always)]
pub(super) fn decode_e4m3(code: u8) -> f32 {
    E4M3_NUMBERS[usize::from(code)]
}

/// `2^(code - 127)`; infinity for 255.
#[inline(always)]
pub(super) fn decode_e8m0(code: u8) -> f32 {
    f32::from_bits(if code == 0 { 1 << 22 } else { u32::from(code) << 23 })
}

/// The code of the smallest power of two at or above a finite number that is not negative; for zero, the code of 1.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "at most 254")]
pub(super) fn encode_e8m0_above(value: f32) -> u8 {
    let bits = value.to_bits();
    // Any fraction carries into the exponent. Subnormal numbers are below 2^-126, and those up to 2^-127 have code 0.
    let code = if bits <= 1 << 22 { 0 } else { (bits + 0x7f_ffff) >> 23 };
    if bits == 0 { 127 } else { code as u8 }
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
const fn e4m3_table() -> [f32; 256] {
    let mut table = [f32::NAN; 256];
    let mut code = 0;
    while code < 127 {
        let (exponent, fraction) = (code >> 3, code & 7);
        // 2^-9 is the last place of the smallest numbers.
        let magnitude =
            if exponent == 0 { fraction as f32 / 512.0 } else { (8 + fraction) as f32 * f32::from_bits((exponent + 117) << 23) };
        table[code as usize] = magnitude;
        table[code as usize + 128] = -magnitude;
        code += 1;
    }
    table
}
