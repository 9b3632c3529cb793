//! Where each component of each tensor lies in an MLX folder.

use serde_json::{Map, Value, json};

use crate::format::folder_files::pretty_json;
use crate::format::planned::{PlannedFile, Spot, Way};
use crate::format::safetensors::head_bytes;
use crate::model::DType;
use crate::quant::mlx::Mode;
use crate::quant::{Coding, MAX_COMPONENTS};

/// Largest file of weights, in bytes; a larger tensor gets a file of its own.
const MAX_SHARD_BYTES: u64 = 5 << 30;

/// Tensors with their places, and the files that hold them.
#[derive(Debug, Clone, PartialEq)]
pub struct Arranged {
    /// The weights' files in order, then the index.
    pub files: Vec<PlannedFile>,
    /// One for each tensor.
    pub ways: Vec<Way>,
}

/// A component as a tensor of a safetensors file.
struct Component {
    name: String,
    dtype: &'static str,
    /// Bytes of a number.
    width: u64,
    /// Dimensions, the row length last.
    shape: Vec<u64>,
    size_bytes: u64,
    /// The tensor and which of its components it is.
    of: (usize, usize),
}

/// Lays out tensors, given by name, coding and shape with the row length first, in files of at most 5 GiB.
///
/// `None` where a tensor's rows are not whole groups, or its coding is not one of MLX.
#[must_use]
pub fn arranged(tensors: &[(&str, Coding, &[u64])]) -> Option<Arranged> {
    arranged_by(tensors, MAX_SHARD_BYTES)
}

fn arranged_by(tensors: &[(&str, Coding, &[u64])], max_shard_bytes: u64) -> Option<Arranged> {
    let mut shards: Vec<(u64, Vec<Component>)> = Vec::new();
    let (mut total_bytes, mut n_parameters) = (0_u64, 0_u64);
    for (idx, &(name, coding, shape)) in tensors.iter().enumerate() {
        let n_weights = shape.iter().try_fold(1, |n: u64, &dim| n.checked_mul(dim))?;
        let n_bytes = coding.n_bytes(shape.first().copied().unwrap_or(1), n_weights)?;
        total_bytes = total_bytes.checked_add(n_bytes)?;
        n_parameters = n_parameters.checked_add(n_weights)?;
        match shards.last_mut().filter(|(size, _)| size.saturating_add(n_bytes) <= max_shard_bytes) {
            Some((size, components)) => {
                *size += n_bytes;
                components.extend(components_of(idx, name, coding, shape, n_weights)?);
            }
            None => shards.push((n_bytes, components_of(idx, name, coding, shape, n_weights)?)),
        }
    }
    let count = shards.len();
    let mut ways: Vec<Way> = tensors
        .iter()
        .map(|&(name, coding, shape)| Way {
            name: name.into(),
            coding,
            shape: shape.into(),
            spots: <[Spot; MAX_COMPONENTS]>::default(),
        })
        .collect();
    let mut files = Vec::with_capacity(count + 1);
    let mut places = Map::new();
    for (file_idx, (_, mut components)) in shards.into_iter().enumerate() {
        let name =
            if count == 1 { "model.safetensors".into() } else { format!("model-{:05}-of-{count:05}.safetensors", file_idx + 1) };
        // The widest numbers first: then all are aligned without bytes between them, which the format forbids.
        components.sort_by_key(|component| std::cmp::Reverse(component.width));
        let (head, size_bytes) = header(&components)?;
        let mut offset = head.len() as u64;
        for component in components {
            let (tensor_idx, component_idx) = component.of;
            ways.get_mut(tensor_idx)?.spots[component_idx] = Spot { file_idx, offset };
            offset += component.size_bytes;
            places.insert(component.name, Value::String(name.clone()));
        }
        files.push(PlannedFile { name, size_bytes, head });
    }
    let index = json!({ "metadata": { "total_size": total_bytes, "total_parameters": n_parameters }, "weight_map": places });
    files.push(PlannedFile::whole("model.safetensors.index.json", pretty_json(&index)?));
    Some(Arranged { files, ways })
}

fn components_of(idx: usize, name: &str, coding: Coding, shape: &[u64], n_weights: u64) -> Option<Vec<Component>> {
    let sizes = coding.component_bytes(shape.first().copied().unwrap_or(1), n_weights)?;
    let rows_first = |row_len: u64| shape.iter().skip(1).rev().copied().chain([row_len]).collect::<Vec<u64>>();
    let component = |number: usize, name: String, (dtype, width): (&'static str, u64), shape: Vec<u64>| Component {
        name,
        dtype,
        width,
        shape,
        size_bytes: sizes[number],
        of: (idx, number),
    };
    match coding {
        Coding::Ggml(dtype) => {
            let shape = shape.iter().rev().copied().collect();
            Some(vec![component(0, name.into(), float(dtype)?, shape)])
        }
        Coding::Mlx { mode, float: stored } => {
            let row_len = shape.first().copied()?;
            let path = name.strip_suffix(".weight")?;
            let n_groups = row_len / mode.group_len();
            let scale = if matches!(mode, Mode::Affine(_)) { float(stored.dtype())? } else { ("U8", 1) };
            let mut components = vec![
                component(0, name.into(), ("U32", 4), rows_first(row_len * mode.bits() / 32)),
                component(1, format!("{path}.scales"), scale, rows_first(n_groups)),
            ];
            if sizes[2] > 0 {
                components.push(component(2, format!("{path}.biases"), scale, rows_first(n_groups)));
            }
            Some(components)
        }
        Coding::NBits { .. } => None,
    }
}

/// The name of a float type in safetensors, and its width in bytes; `None` for other types.
fn float(dtype: DType) -> Option<(&'static str, u64)> {
    match dtype {
        DType::F32 => Some(("F32", 4)),
        DType::F16 => Some(("F16", 2)),
        DType::BF16 => Some(("BF16", 2)),
        _ => None,
    }
}

/// The header of a safetensors file whose data lie in this order, and the size of the file.
fn header(components: &[Component]) -> Option<(Vec<u8>, u64)> {
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), json!({ "format": "mlx" }));
    let mut end = 0_u64;
    for Component { name, dtype, shape, size_bytes, .. } in components {
        let start = end;
        end = end.checked_add(*size_bytes)?;
        entries.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] }));
    }
    let head = head_bytes(&entries)?;
    let size_bytes = end.checked_add(head.len() as u64)?;
    Some((head, size_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::safetensors::parse;
    use crate::quant::mlx::{Affine, Float};

    fn affine(bits: u8) -> Coding {
        Coding::Mlx { mode: Mode::Affine(Affine::new(bits, 64).unwrap()), float: Float::BF16 }
    }

    #[test]
    fn headers_read_back_and_numbers_are_aligned() {
        let mxfp4 = Coding::Mlx { mode: Mode::Mxfp4, float: Float::F16 };
        let tensors: [(&str, Coding, &[u64]); 4] = [
            ("model.norm.weight", Coding::Ggml(DType::BF16), &[3]),
            ("a.weight", affine(3), &[64, 5]),
            ("b.weight", mxfp4, &[32, 3, 2]),
            ("c.weight", Coding::Ggml(DType::F32), &[1, 2]),
        ];
        let arranged = arranged(&tensors).unwrap();
        let names: Vec<&str> = arranged.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["model.safetensors", "model.safetensors.index.json"]);
        let file = &arranged.files[0];
        let mut found = parse(&file.head, file.size_bytes, std::path::Path::new("m")).unwrap();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let listed: Vec<(&str, &str, &[u64])> =
            found.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype.name(), tensor.shape.as_slice())).collect();
        let expected: [(&str, &str, &[u64]); 7] = [
            ("a.biases", "BF16", &[5, 1]),
            ("a.scales", "BF16", &[5, 1]),
            ("a.weight", "U32", &[5, 6]),
            ("b.scales", "U8", &[2, 3, 1]),
            ("b.weight", "U32", &[2, 3, 4]),
            ("c.weight", "F32", &[2, 1]),
            ("model.norm.weight", "BF16", &[3]),
        ];
        assert_eq!(listed, expected);
        for tensor in &found {
            assert_eq!(tensor.offset % (tensor.dtype.bits() / 8), 0, "{}", tensor.name);
        }
        let offset_of = |name: &str| found.iter().find(|tensor| tensor.name == name).unwrap().offset;
        let way = &arranged.ways[1];
        assert_eq!(way.spots.map(|spot| spot.offset), ["a.weight", "a.scales", "a.biases"].map(offset_of));
    }

    #[test]
    fn large_models_have_several_files() {
        let tensors: [(&str, Coding, &[u64]); 3] =
            [("a.weight", affine(4), &[64, 5]), ("b.weight", affine(4), &[64, 5]), ("c.weight", affine(4), &[64, 50])];
        let arranged = arranged_by(&tensors, 400).unwrap();
        let names: Vec<&str> = arranged.files.iter().map(|file| file.name.as_str()).collect();
        let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(names, [shards[0], shards[1], "model.safetensors.index.json"]);
        assert_eq!(arranged.ways.iter().map(|way| way.spots[0].file_idx).collect::<Vec<_>>(), [0, 0, 1]);
        let index: Value = serde_json::from_slice(&arranged.files[2].head).unwrap();
        assert_eq!(
            (index["metadata"]["total_size"].as_u64(), index["metadata"]["total_parameters"].as_u64()),
            (Some(2160), Some(3840))
        );
        assert_eq!(index["weight_map"]["c.biases"], shards[1]);
        assert_eq!(super::arranged(&[("a.weight", affine(4), &[65, 1])]), None);
    }
}
