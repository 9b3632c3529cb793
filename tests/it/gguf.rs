//! Reader and writer on a real model.

use std::io::{BufReader, Read, Write};
use std::path::Path;

use planish::format::{Layout, TensorReader, TensorSpec, Writer, file_size_bytes, inspect};
use planish::model::{DType, Model};

use crate::common;

/// Compares what is written with what another file holds, without keeping either in memory.
struct Comparison<R> {
    expected: R,
    n_equal_bytes: u64,
}

impl<R: Read> Write for Comparison<R> {
    fn write(&mut self, written: &[u8]) -> std::io::Result<usize> {
        let mut expected = vec![0; written.len()];
        self.expected.read_exact(&mut expected)?;
        if let Some(at) = expected.iter().zip(written).position(|(a, b)| a != b) {
            return Err(std::io::Error::other(format!("byte {} differs", self.n_equal_bytes + at as u64)));
        }
        self.n_equal_bytes += written.len() as u64;
        Ok(written.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn specs(model: &Model) -> Vec<TensorSpec> {
    let spec = |tensor: &planish::model::Tensor| TensorSpec {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
    };
    model.tensors.iter().map(spec).collect()
}

#[test]
fn real_file_round_trips() {
    let path = common::smollm2();
    let model = inspect(&path).unwrap();
    let tensors = specs(&model);
    let layout = Layout::plan(&model.metadata, &tensors, model.alignment).unwrap();
    assert_eq!(layout.file_size_bytes, model.size_bytes);
    assert_eq!(file_size_bytes(&model.metadata, &tensors, model.alignment).unwrap(), model.size_bytes);

    let expected = BufReader::new(std::fs::File::open(&path).unwrap());
    let mut writer = Writer::start(Comparison { expected, n_equal_bytes: 0 }, layout, Path::new("copy")).unwrap();
    let reader = TensorReader::open(&model).unwrap();
    let mut piece = vec![0; 1 << 20];
    for tensor in &model.tensors {
        let mut start = 0;
        while start < tensor.size_bytes {
            let len = usize::try_from(tensor.size_bytes - start).unwrap().min(piece.len());
            reader.read(tensor, start, &mut piece[..len]).unwrap();
            writer.write(&piece[..len]).unwrap();
            start += len as u64;
        }
    }
    assert_eq!(writer.finish().unwrap().n_equal_bytes, model.size_bytes);
    reader.check_unchanged().unwrap();
}

#[test]
fn real_file_is_described() {
    let model = inspect(&common::smollm2()).unwrap();
    assert_eq!(model.format_name, "GGUF v3");
    assert_eq!((model.tensors.len(), model.metadata.0.len()), (272, 33));
    assert_eq!(model.n_parameters(), 134_515_008);
    assert_eq!(model.warnings, [""; 0]);
    let shape = &model.hyperparameters;
    assert_eq!((shape.architecture.as_str(), shape.n_layers, shape.n_embd, shape.n_vocab), ("llama", 30, 576, 49152));
    let embeddings = &model.tensors[0];
    assert_eq!((embeddings.name.as_str(), embeddings.dtype), ("token_embd.weight", DType::Q8_0));
    assert_eq!(embeddings.shape, [576, 49152]);
}
