//! Where each number of a folder's `model.onnx.data` lies.

use std::collections::HashMap;

use super::context_len;
use crate::format::onnx::EXTERNAL_ALIGNMENT;
use crate::format::planned::{Spot, Way};
use crate::model::{Attention, Decoder, RopeTable};
use crate::quant::{Coding, Float, MAX_COMPONENTS};

/// The file with the graph.
pub const GRAPH_FILE: &str = "model.onnx";
/// The file with the weights.
pub const DATA_FILE: &str = "model.onnx.data";

/// Index of [`DATA_FILE`] in the files of a folder.
const DATA_FILE_IDX: usize = 1;
/// Large tensors begin on a page, so that they can be mapped; others need only whole numbers.
const LARGE_BYTES: u64 = 64 << 10;
const SMALL_ALIGNMENT: u64 = 64;

/// Every tensor with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Arranged {
    /// One for each tensor of the source.
    pub ways: Vec<Way>,
    /// What the graph reads, by name: a tensor, or several whose rows follow one another, as `blk.0.attn_qkv.weight`.
    pub places: HashMap<String, Place>,
    /// Cosines and sines of each table of the decoder.
    pub tables: Vec<TablePlaces>,
    /// Numbers that are computed with.
    pub float: Float,
    /// Size of the file in bytes.
    pub size_bytes: u64,
}

/// A tensor of the graph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// How it is written.
    pub coding: Coding,
    /// True for a vector, which is one row.
    pub is_vector: bool,
    /// Rows.
    pub n_rows: u64,
    /// Weights in a row.
    pub row_len: u64,
    /// Where each component begins, and its size; in bytes.
    pub components: [(u64, u64); MAX_COMPONENTS],
}

/// Tensors of the source whose rows follow one another in the file.
struct Joint {
    /// The name in the graph.
    name: String,
    /// The names in the source.
    members: Vec<String>,
}

/// Where the cosines and sines of a table lie: for short contexts, and for long ones where those differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TablePlaces {
    /// For all contexts, or for those that are not long.
    pub usual: AnglePlaces,
    /// For long ones.
    pub long: Option<AnglePlaces>,
}

/// Cosines, then sines: `[n_positions, n_pairs]` each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnglePlaces {
    /// Rows: positions from 0 on.
    pub n_positions: u64,
    /// Columns: pairs of dimensions that turn together.
    pub n_pairs: u64,
    /// Where the cosines begin, in bytes.
    pub cos: u64,
    /// Where the sines begin.
    pub sin: u64,
    /// Size of either in bytes.
    pub n_bytes: u64,
}

/// Lays out tensors, given by name, coding and shape with the row length first; `float` is what is computed with.
///
/// `None` where rows cannot be encoded as wanted, or sizes are beyond any file.
#[must_use]
pub fn arranged(decoder: &Decoder, tensors: &[(&str, Coding, &[u64])], float: Float) -> Option<Arranged> {
    let mut end = 0;
    let mut tables = Vec::with_capacity(decoder.rope_tables.len());
    for table in &decoder.rope_tables {
        tables.push(place_table(table, context_len(decoder), float, &mut end)?);
    }
    let idx_of: HashMap<&str, usize> = tensors.iter().enumerate().map(|(idx, tensor)| (tensor.0, idx)).collect();
    let mut spots = vec![[Spot::default(); MAX_COMPONENTS]; tensors.len()];
    let mut places = HashMap::new();
    for joint in joints(decoder, tensors) {
        let members: Vec<usize> = joint.members.iter().map(|name| idx_of.get(name.as_str()).copied()).collect::<Option<_>>()?;
        places.insert(joint.name, place_joint(&members, tensors, &mut spots, &mut end)?);
    }
    let ways = tensors.iter().zip(spots).map(|(&(name, coding, shape), spots)| Way {
        name: name.into(),
        coding,
        shape: shape.into(),
        spots,
    });
    Some(Arranged { ways: ways.collect(), places, tables, float, size_bytes: end })
}

/// The tensors of the graph: queries, keys and values are one matrix where nothing comes between the projection and the attention.
fn joints(decoder: &Decoder, tensors: &[(&str, Coding, &[u64])]) -> Vec<Joint> {
    let coding_of: HashMap<&str, Coding> = tensors.iter().map(|&(name, coding, _)| (name, coding)).collect();
    let mut joined: HashMap<String, String> = HashMap::new();
    for (layer_idx, layer) in decoder.layers.iter().enumerate() {
        let name = |part: &str, kind: &str| format!("blk.{layer_idx}.attn_{part}.{kind}");
        let codings = ["q", "k", "v"].map(|part| coding_of.get(name(part, "weight").as_str()).copied());
        if !are_joined(&layer.attention, codings) {
            continue;
        }
        for kind in ["weight", "bias"] {
            joined.extend(["q", "k", "v"].map(|part| (name(part, kind), name("qkv", kind))));
        }
    }
    let mut all: Vec<Joint> = Vec::new();
    let mut idx_of: HashMap<String, usize> = HashMap::new();
    for &(name, ..) in tensors {
        let whole = joined.get(name).cloned().unwrap_or_else(|| name.into());
        if let Some(&idx) = idx_of.get(&whole) {
            all[idx].members.push(name.into());
        } else {
            idx_of.insert(whole.clone(), all.len());
            all.push(Joint { name: whole, members: vec![name.into()] });
        }
    }
    all
}

fn are_joined(attention: &Attention, [q, k, v]: [Option<Coding>; 3]) -> bool {
    let biases = [&attention.q, &attention.k, &attention.v].map(|projection| projection.bias.is_some());
    attention.qk_norm.is_none() && q.is_some() && q == k && q == v && (biases == [true; 3] || biases == [false; 3])
}

fn place_joint(
    members: &[usize],
    tensors: &[(&str, Coding, &[u64])],
    spots: &mut [[Spot; MAX_COMPONENTS]],
    end: &mut u64,
) -> Option<Place> {
    let &(_, coding, shape) = tensors.get(*members.first()?)?;
    let is_vector = shape.len() <= 1;
    let row_len = if is_vector { 1 } else { *shape.first()? };
    let (mut n_rows, mut sizes) = (0_u64, Vec::with_capacity(members.len()));
    for &member in members {
        let shape = tensors.get(member)?.2;
        let n_weights = shape.iter().try_fold(1, |n: u64, &dim| n.checked_mul(dim))?;
        n_rows = n_rows.checked_add(n_weights / row_len.max(1))?;
        sizes.push(coding.component_bytes(row_len, n_weights)?);
    }
    let mut components = [(0, 0); MAX_COMPONENTS];
    for (idx, component) in components.iter_mut().enumerate() {
        let total = sizes.iter().try_fold(0, |sum: u64, sizes| sum.checked_add(sizes[idx]))?;
        if total == 0 {
            continue;
        }
        let start = aligned(*end, total)?;
        *component = (start, total);
        let mut offset = start;
        for (&member, sizes) in members.iter().zip(&sizes) {
            spots.get_mut(member)?[idx] = Spot { file_idx: DATA_FILE_IDX, offset };
            offset += sizes[idx];
        }
        *end = start.checked_add(total)?;
    }
    let (n_rows, row_len) = if is_vector { (1, n_rows) } else { (n_rows, row_len) };
    Some(Place { coding, is_vector, n_rows, row_len, components })
}

fn place_table(table: &RopeTable, n_ctx: u64, float: Float, end: &mut u64) -> Option<TablePlaces> {
    let mut place = |n_positions: u64| {
        let n_pairs = table.n_dims / 2;
        let n_bytes = n_positions.checked_mul(n_pairs)?.checked_mul(float.width())?;
        let cos = aligned(*end, n_bytes)?;
        let sin = aligned(cos.checked_add(n_bytes)?, n_bytes)?;
        *end = sin.checked_add(n_bytes)?;
        Some(AnglePlaces { n_positions, n_pairs, cos, sin, n_bytes })
    };
    // Contexts up to the border never ask for later positions.
    match table.long.as_ref().map(|long| long.above).filter(|above| *above < n_ctx) {
        Some(above) => Some(TablePlaces { usual: place(above)?, long: Some(place(n_ctx)?) }),
        None => Some(TablePlaces { usual: place(n_ctx)?, long: None }),
    }
}

fn aligned(end: u64, n_bytes: u64) -> Option<u64> {
    end.checked_next_multiple_of(if n_bytes >= LARGE_BYTES { EXTERNAL_ALIGNMENT } else { SMALL_ALIGNMENT })
}
