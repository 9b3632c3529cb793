//! Checksums of chunks on their way to checksums of tensors.

use std::collections::HashMap;

use super::chunk::{Sums, Work, chunks};
use crate::format::Checksum;

/// Collects the checksums of chunks, which come in any order, until a tensor has all of its own.
#[derive(Debug, Default)]
pub(super) struct Collector {
    /// Tensors of which some chunks are there, by the index of the work.
    open: HashMap<usize, Vec<Option<Sums>>>,
}

impl Collector {
    /// Takes what one chunk left, and returns the tensor's checksums when it was the last one missing.
    pub(super) fn add(&mut self, work_idx: usize, work: &Work, chunk_idx: usize, sums: Sums) -> Option<Sums> {
        let of_tensor = self.open.entry(work_idx).or_insert_with(|| vec![None; chunks(work.tensor).count()]);
        *of_tensor.get_mut(chunk_idx)? = Some(sums);
        if of_tensor.iter().any(Option::is_none) {
            return None;
        }
        let all: Vec<Sums> = self.open.remove(&work_idx)?.into_iter().flatten().collect();
        let encoding = |idx: usize| Checksum::of_parts(all.iter().filter_map(|sums| sums.encodings.get(idx)));
        Some(Sums {
            source: Checksum::of_parts(all.iter().map(|sums| &sums.source)),
            encodings: (0..work.encodings.len()).map(encoding).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk::Encoding;
    use super::*;
    use crate::model::{DType, Tensor};
    use crate::quant::Coding;

    #[test]
    fn the_order_in_which_chunks_end_does_not_matter() {
        let tensor = Tensor {
            name: "t".into(),
            dtype: DType::F16,
            shape: vec![1024, 700],
            file_idx: 0,
            offset: 0,
            size_bytes: 1024 * 700 * 2,
        };
        let encodings = vec![Encoding { coding: Coding::Ggml(DType::Q8_0), places: Vec::new() }];
        let work = Work { tensor_idx: 0, tensor: &tensor, encodings, importances: None, moments: None };
        let sums = |chunk: u8| Sums { source: Checksum::of(&[chunk]), encodings: vec![Checksum::of(&[chunk, chunk])] };
        let parts = |make: fn(u8) -> Checksum| Checksum::of_parts(&[make(0), make(1), make(2)]);
        let expected = Sums { source: parts(|i| Checksum::of(&[i])), encodings: vec![parts(|i| Checksum::of(&[i, i]))] };
        for order in [[0, 1, 2], [2, 0, 1]] {
            let mut collector = Collector::default();
            let found: Vec<_> = order.map(|i| collector.add(7, &work, i, sums(u8::try_from(i).unwrap()))).into();
            assert_eq!(found, [None, None, Some(expected.clone())]);
        }
    }
}
