//! Cosines and sines of all positions, which stand before the weights.

use half::f16;

use super::layout::{AnglePlaces, Arranged};
use crate::error::{Error, Result};
use crate::model::{Decoder, RopeTable};
use crate::quant::Float;

/// The first bytes of the data file: cosines and sines of each table, with zeros between them up to the next aligned position.
///
/// # Errors
/// `Error::Internal` for tables that do not fit into memory.
pub fn head_of(decoder: &Decoder, arranged: &Arranged) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    for (table, places) in decoder.rope_tables.iter().zip(&arranged.tables) {
        write_angles(table, &table.inv_freqs, places.usual, arranged.float, &mut head)?;
        if let (Some(places), Some(long)) = (places.long, &table.long) {
            write_angles(table, &long.inv_freqs, places, arranged.float, &mut head)?;
        }
    }
    Ok(head)
}

fn write_angles(table: &RopeTable, inv_freqs: &[f32], places: AnglePlaces, float: Float, head: &mut Vec<u8>) -> Result<()> {
    for (start, part) in [(places.cos, f64::cos as fn(f64) -> f64), (places.sin, f64::sin)] {
        let too_long = |_| Error::Internal { message: format!("{} bytes of angles do not fit into memory", places.n_bytes) };
        head.resize(usize::try_from(start).map_err(too_long)?, 0);
        head.reserve(usize::try_from(places.n_bytes).map_err(too_long)?);
        for position in 0..places.n_positions {
            for &inv_freq in inv_freqs {
                // As transformers has it: the angle is a product of F32.
                #[allow(clippy::cast_precision_loss, reason = "positions are below 2^24")]
                let angle = position as f32 * inv_freq;
                #[allow(clippy::cast_possible_truncation, reason = "computed in F64, kept in F32")]
                let number = (part(f64::from(angle)) * table.magnitude) as f32;
                match float {
                    Float::F32 => head.extend(number.to_le_bytes()),
                    Float::F16 => head.extend(f16::from_f32(number).to_le_bytes()),
                    Float::BF16 => head.extend(half::bf16::from_f32(number).to_le_bytes()),
                }
            }
        }
    }
    Ok(())
}
