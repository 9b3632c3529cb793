//! Properties: what is written is read back, and no damage makes the reader panic or hand out impossible tensors.

use std::path::Path;

use proptest::prelude::*;

use super::gguf_header::parse;
use super::gguf_writer::{Layout, TensorSpec, Writer, file_size_bytes};
use super::tests_header::small_file;
use crate::error::Error;
use crate::model::{Array, DType, Metadata, Tensor, Text, Value};

const PATH: &str = "x";

fn array() -> impl Strategy<Value = Array> {
    use proptest::collection::vec;
    let text = || vec(any::<u8>(), 0..6).prop_map(Text);
    let flat = prop_oneof![
        vec(any::<u8>(), 0..5).prop_map(Array::U8),
        vec(any::<i8>(), 0..5).prop_map(Array::I8),
        vec(any::<u16>(), 0..5).prop_map(Array::U16),
        vec(any::<i16>(), 0..5).prop_map(Array::I16),
        vec(any::<u32>(), 0..5).prop_map(Array::U32),
        vec(any::<i32>(), 0..5).prop_map(Array::I32),
        vec(any::<u32>().prop_map(f32::from_bits), 0..5).prop_map(Array::F32),
        vec(any::<bool>(), 0..5).prop_map(Array::Bool),
        vec(text(), 0..5).prop_map(Array::Str),
        vec(any::<u64>(), 0..5).prop_map(Array::U64),
        vec(any::<i64>(), 0..5).prop_map(Array::I64),
        vec(any::<u64>().prop_map(f64::from_bits), 0..5).prop_map(Array::F64),
    ];
    flat.prop_recursive(4, 24, 4, |inner| vec(inner, 0..4).prop_map(Array::Array))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(|bits| Value::F32(f32::from_bits(bits))),
        any::<bool>().prop_map(Value::Bool),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Str(Text(bytes))),
        array().prop_map(Value::Array),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
    ]
}

prop_compose! {
    /// Keys are made unique by their index.
    fn metadata(alignment: u64)(entries in proptest::collection::vec(("\\PC{0,8}", value()), 0..8)) -> Metadata {
        let mut metadata = Metadata(entries.into_iter().enumerate().map(|(idx, (key, value))| (format!("{idx}{key}"), value)).collect());
        if alignment != 32 {
            metadata.set("general.alignment", Value::U32(u32::try_from(alignment).unwrap()));
        }
        metadata
    }
}

prop_compose! {
    fn tensor()(
        dtype in proptest::sample::select(DType::all().collect::<Vec<_>>()),
        name in "\\PC{0,8}",
        n_blocks in 1..4u64,
        rest in proptest::collection::vec(1..4u64, 0..4),
    ) -> TensorSpec {
        let shape = std::iter::once(n_blocks * dtype.block_len()).chain(rest).take(4).collect();
        TensorSpec { name, dtype, shape }
    }
}

fn file() -> impl Strategy<Value = (Metadata, Vec<TensorSpec>, u64)> {
    proptest::sample::select(vec![1u64, 8, 32, 256]).prop_flat_map(|alignment| {
        (metadata(alignment), proptest::collection::vec(tensor(), 0..6)).prop_map(move |(metadata, mut tensors)| {
            tensors.iter_mut().enumerate().for_each(|(idx, tensor)| tensor.name.insert_str(0, &format!("{idx}.")));
            (metadata, tensors, alignment)
        })
    })
}

fn write(metadata: &Metadata, tensors: &[TensorSpec], alignment: u64, piece_len: usize) -> Vec<u8> {
    let layout = Layout::plan(metadata, tensors, alignment).unwrap();
    let places = layout.tensors.clone();
    let mut writer = Writer::start(Vec::new(), layout, Path::new(PATH)).unwrap();
    for (idx, place) in places.iter().enumerate() {
        assert_eq!(writer.tensor_idx(), idx);
        for piece in data(idx, place.size_bytes).chunks(piece_len) {
            writer.write(piece).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// Recognizable bytes of a tensor; never 0, which is padding.
fn data(tensor_idx: usize, size_bytes: u64) -> Vec<u8> {
    (0..size_bytes).map(|at| u8::try_from((at * 7 + tensor_idx as u64) % 255).unwrap() + 1).collect()
}

fn bytes_of<'a>(file: &'a [u8], tensor: &Tensor) -> &'a [u8] {
    &file[usize::try_from(tensor.offset).unwrap()..][..usize::try_from(tensor.size_bytes).unwrap()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back((metadata, tensors, alignment) in file(), piece_len in 1..300usize) {
        let file = write(&metadata, &tensors, alignment, piece_len);
        prop_assert_eq!(file.len() as u64, file_size_bytes(&metadata, &tensors, alignment).unwrap());
        prop_assert_eq!(file.len() as u64 % alignment, 0);
        let header = parse(&file, file.len() as u64, Path::new(PATH)).unwrap();
        // As text, because NaN differs from itself; the bits are compared below.
        prop_assert_eq!(format!("{:?}", &header.metadata), format!("{:?}", &metadata));
        prop_assert_eq!(header.alignment, alignment);
        prop_assert_eq!(header.warnings, Vec::<String>::new());
        let found: Vec<_> = header.tensors.iter()
            .map(|tensor| TensorSpec { name: tensor.name.clone(), dtype: tensor.dtype, shape: tensor.shape.clone() }).collect();
        prop_assert_eq!(&found, &tensors);
        let mut n_data_bytes = 0;
        for (idx, tensor) in header.tensors.iter().enumerate() {
            prop_assert_eq!(bytes_of(&file, tensor), data(idx, tensor.size_bytes));
            n_data_bytes += tensor.size_bytes;
        }
        let planned = Layout::plan(&header.metadata, &found, header.alignment).unwrap();
        prop_assert_eq!(&file[..planned.header.len()], &planned.header);
        let padding = file.len() as u64 - planned.header.len() as u64 - n_data_bytes;
        prop_assert!(padding <= alignment * tensors.len() as u64);
    }

    #[test]
    fn damage_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        number in proptest::option::of((any::<prop::sample::Index>(), prop_oneof![Just(u64::MAX), Just(1 << 63), Just(1 << 40), Just(0), any::<u64>()])),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = small_file();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some((at, number)) = number {
            let at = at.index(file.len() - 8);
            file[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(header) = parse(&file, file.len() as u64, Path::new(PATH)) {
            let mut ranges: Vec<_> = header.tensors.iter().map(|tensor| (tensor.offset, tensor.offset + tensor.size_bytes)).collect();
            ranges.sort_unstable();
            prop_assert!(ranges.iter().all(|range| range.1 <= file.len() as u64));
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
            let specs: Vec<_> = header.tensors.iter()
                .map(|tensor| TensorSpec { name: tensor.name.clone(), dtype: tensor.dtype, shape: tensor.shape.clone() }).collect();
            prop_assert!(Layout::plan(&header.metadata, &specs, header.alignment).is_ok());
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200), n_tensors in 0..5u64, n_key_values in 0..5u64) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(n_tensors.to_le_bytes());
        file.extend(n_key_values.to_le_bytes());
        file.extend(noise);
        let _ = parse(&file, file.len() as u64, Path::new(PATH));
    }
}

#[test]
fn the_layout_is_that_of_the_format() {
    // Written out by hand from the format's description, so that reader and writer cannot share a mistake.
    let metadata = Metadata(vec![("k".into(), Value::Array(Array::Array(vec![Array::I16(vec![-2])])))]);
    let tensors = [TensorSpec { name: "t".into(), dtype: DType::Q8_0, shape: vec![32, 2] }];
    let layout = Layout::plan(&metadata, &tensors, 32).unwrap();
    let mut expected = b"GGUF".to_vec();
    expected.extend([3, 0, 0, 0]); // version
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0]); // tensors
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0]); // key-values
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0, b'k']);
    expected.extend([9, 0, 0, 0]); // array
    expected.extend([9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]); // of one array
    expected.extend([3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]); // of one i16
    expected.extend([0xfe, 0xff]);
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0, b't']);
    expected.extend([2, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]); // two dimensions
    expected.extend([8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // type, offset
    expected.resize(expected.len().next_multiple_of(32), 0);
    assert_eq!(layout.header, expected);
    assert_eq!(layout.tensors.first().map(|place| (place.offset, place.size_bytes)), Some((expected.len() as u64, 68)));
    assert_eq!(layout.file_size_bytes, expected.len() as u64 + 96);
}

#[test]
fn what_no_reader_accepts_is_not_planned() {
    let named =
        |entries: &[(&str, Value)]| Metadata(entries.iter().map(|(key, value)| ((*key).to_string(), value.clone())).collect());
    let spec = |name: &str, dtype, shape: &[u64]| TensorSpec { name: name.into(), dtype, shape: shape.into() };
    let check =
        |metadata: &Metadata, tensors: &[TensorSpec], alignment, part: &str| match Layout::plan(metadata, tensors, alignment) {
            Err(Error::Internal { message }) => assert!(message.contains(part), "{message}"),
            other => panic!("{part}: {other:?}"),
        };
    let none = Metadata::default();
    check(&named(&[("", Value::U8(1))]), &[], 32, "key");
    check(&named(&[("a", Value::U8(1)), ("a", Value::U8(1))]), &[], 32, "repeated");
    check(&none, &[spec("", DType::F32, &[1])], 32, "tensor name");
    check(&none, &[spec("t", DType::F32, &[1]), spec("t", DType::F32, &[1])], 32, "repeated");
    check(&none, &[spec("t", DType::F32, &[1; 5])], 32, "5 dimensions");
    check(&none, &[spec("t", DType::F32, &[0])], 32, "shape [0]");
    check(&none, &[spec("t", DType::Q4_K, &[128])], 32, "Q4_K");
    check(&none, &[spec("t", DType::I8, &[1 << 62]), spec("u", DType::I8, &[1 << 62])], 32, "above 2^63");
    for alignment in [0, 3, 64, 1 << 31] {
        check(&none, &[], alignment, "alignment");
    }
    check(&named(&[("general.alignment", Value::U32(64))]), &[], 32, "alignment 32");
    check(&named(&[("general.alignment", Value::U64(32))]), &[], 32, "alignment 32");
    let deep = (0..9).fold(Array::U8(Vec::new()), |inner, _| Array::Array(vec![inner]));
    check(&named(&[("deep", Value::Array(deep))]), &[], 32, "nested deeper");
}

#[test]
fn the_writer_holds_to_the_plan() {
    let tensors = [DType::F32, DType::F16].map(|dtype| TensorSpec { name: dtype.name().into(), dtype, shape: vec![4] });
    let start = || {
        let layout = Layout::plan(&Metadata::default(), &tensors, 32).unwrap();
        Writer::start(Vec::new(), layout, Path::new(PATH)).unwrap()
    };
    let is_refused = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Internal { .. })), "{result:?}");
    is_refused(start().write_tensor(&[0; 15]));
    is_refused(start().write_tensor(&[0; 17]));
    is_refused(start().write(&[0; 17]));
    is_refused(start().finish().map(drop));
    let mut writer = start();
    writer.write(&[0; 8]).unwrap();
    is_refused(writer.write_tensor(&[0; 16]));
    is_refused(writer.write(&[0; 9]));
    writer.write(&[0; 8]).unwrap();
    writer.write_tensor(&[0; 8]).unwrap();
    is_refused(writer.write(&[0; 1]));
    let planned = writer.layout().file_size_bytes;
    assert_eq!(writer.finish().unwrap().len() as u64, planned);
}

#[test]
fn a_full_disk_is_an_io_error() {
    #[derive(Debug)]
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let layout = Layout::plan(&Metadata::default(), &[], 32).unwrap();
    let error = Writer::start(Full, layout, Path::new(PATH)).unwrap_err();
    assert!(matches!(error, Error::Io { action: "write", kind: std::io::ErrorKind::StorageFull, .. }), "{error}");
}
