//! What is said of networks, and that files are written as they were read.

use bytes::Bytes;
use prost::Message as _;

use super::file::{inspect_onnx, parse};
use super::proto::{GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use super::test_files::{inner, int, model, node, raw, small_graph, tensor, value, write};
use super::{ExternalLayout, read_onnx, to_bytes};
use crate::format::{Opened, read_any};
use crate::model::OnnxDType::{self, BF16, F6_E2M3, F16, F32, F64, I4, I8, I32, I64, U8, U32, U64};
use crate::model::{MultiplyAdds, OnnxDim, OnnxNetwork, OnnxOperator, OnnxPlace, OnnxQuantization};

fn of(graph: GraphProto) -> OnnxNetwork {
    of_model(&model(graph))
}

fn of_model(model: &ModelProto) -> OnnxNetwork {
    let folder = tempfile::tempdir().unwrap();
    inspect_onnx(&write(folder.path(), model)).unwrap()
}

#[test]
fn a_small_network_is_described() {
    let entry = StringStringEntryProto { key: Some("author".into()), value: Some("me".into()) };
    let producer_version = Some("2".into());
    let network = of_model(&ModelProto { metadata_props: vec![entry], producer_version, ..model(small_graph()) });
    assert_eq!(
        (network.producer.as_str(), network.ir_version, network.opsets_text()),
        ("planish tests 2", 8, "ai.onnx 17".into())
    );
    assert_eq!((network.graph_name.as_str(), network.n_nodes, network.n_parameters), ("small", 2, 8));
    let [x] = network.inputs.as_slice() else { panic!() };
    assert_eq!((x.name.as_str(), x.dtype, x.shape_text()), ("x", Some(F32), "batch × 3".into()));
    assert_eq!(x.shape.as_deref(), Some(&[OnnxDim::Named("batch".into()), OnnxDim::Fixed(3)][..]));
    assert_eq!(network.open_dims(), ["batch"]);
    assert_eq!(network.operators.iter().map(OnnxOperator::full_name).collect::<Vec<_>>(), ["Add", "MatMul"]);
    assert_eq!(network.metadata, [("author".to_string(), "me".to_string())]);
    assert_eq!((network.quantization_text().as_str(), network.display_name().as_str()), ("no", "model"));
    let [sum] = network.dtypes.as_slice() else { panic!() };
    assert_eq!((sum.dtype, sum.n_tensors, sum.n_elements, sum.size_bytes), (F32, 2, 8, 32));
    let places: Vec<OnnxPlace> = network.tensors.iter().map(|tensor| tensor.place).collect();
    assert_eq!(places, [OnnxPlace::Raw, OnnxPlace::Fields]);
    assert_eq!(network.multiply_adds, MultiplyAdds { n_total: None, n_nodes: 1, n_unknown: 1 });
}

#[test]
fn files_and_folders_are_opened_by_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &model(small_graph()));
    let other = folder.path().join("without extension");
    std::fs::copy(&path, &other).unwrap();
    for path in [folder.path(), &path, &other] {
        assert!(matches!(read_any(path), Ok(Opened::Onnx(network)) if network.n_nodes == 2), "{path:?}");
    }
    let error = crate::format::inspect(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("an ONNX network can be inspected, but not converted, run or measured yet: {}", path.display())
    );
}

#[test]
fn what_is_read_is_written_as_it_was() {
    let mut sound = small_graph();
    sound.node[0].doc_string = Some("é".into());
    let bytes = to_bytes(&model(sound), std::path::Path::new("x")).unwrap();
    let content = Bytes::from(bytes.clone());
    let file = parse(content.clone(), std::path::Path::new("x")).unwrap();
    assert_eq!(to_bytes(&file.model, &file.path).unwrap(), bytes);
    // The data of tensors are views of the file's bytes.
    let data = file.data(&file.model.graph.as_ref().unwrap().initializer[0]).unwrap();
    assert!(content.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn weights_are_laid_out_in_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut graph = small_graph();
    let mut layout = ExternalLayout::new("model.onnx.data").unwrap();
    let mut file = Vec::new();
    for (idx, tensor) in (1_u8..).zip(&mut graph.initializer) {
        let size_bytes = OnnxDType::F32.size_bytes(tensor.dims.iter().product::<i64>().cast_unsigned()).unwrap();
        file.resize(usize::try_from(layout.place(tensor, size_bytes).unwrap()).unwrap(), 0);
        file.extend(vec![idx; usize::try_from(size_bytes).unwrap()]);
    }
    assert_eq!(file.len() as u64, layout.size_bytes());
    std::fs::write(folder.path().join("model.onnx.data"), &file).unwrap();
    write(folder.path(), &model(graph));
    let file = read_onnx(folder.path()).unwrap();
    let places: Vec<OnnxPlace> = file.tensors.iter().map(|tensor| tensor.place).collect();
    let external = |offset| OnnxPlace::External { file_idx: 1, offset };
    assert_eq!(places, [external(0), external(4096)]);
    let tensors = &file.model.graph.as_ref().unwrap().initializer;
    assert_eq!(file.data(&tensors[1]).unwrap(), [2; 8].as_slice());
}

#[cfg(unix)]
#[test]
fn the_links_of_the_hub_cache_are_followed() {
    let hub = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (hub.path().join("m/blobs"), hub.path().join("m/snapshots/1"));
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    let mut tensor = tensor("w", U8, &[4]);
    super::set_external(&mut tensor, "model.onnx_data", 0, 4);
    let path = write(&blobs, &model(GraphProto { initializer: vec![tensor], ..GraphProto::default() }));
    std::fs::rename(path, blobs.join("aa")).unwrap();
    std::fs::write(blobs.join("bb"), [0; 4]).unwrap();
    std::os::unix::fs::symlink("../../blobs/aa", snapshot.join("model.onnx")).unwrap();
    std::os::unix::fs::symlink("../../blobs/bb", snapshot.join("model.onnx_data")).unwrap();
    assert_eq!(read_onnx(&snapshot).unwrap().files.len(), 2);
}

#[test]
fn values_of_all_types_are_read_as_bytes() {
    let check = |tensor: TensorProto, expected: &[u8]| {
        let file = parse(
            model(GraphProto { initializer: vec![tensor.clone()], ..GraphProto::default() }).encode_to_vec().into(),
            std::path::Path::new("x"),
        );
        assert_eq!(file.unwrap().data(&tensor).unwrap(), expected, "{tensor:?}");
    };
    check(TensorProto { float_data: vec![1.5], ..tensor("t", F32, &[1]) }, &1.5_f32.to_le_bytes());
    check(TensorProto { double_data: vec![1.5], ..tensor("t", F64, &[]) }, &1.5_f64.to_le_bytes());
    check(TensorProto { int64_data: vec![-2], ..tensor("t", I64, &[1]) }, &(-2_i64).to_le_bytes());
    check(TensorProto { uint64_data: vec![u64::MAX], ..tensor("t", U64, &[1]) }, &[255; 8]);
    check(TensorProto { uint64_data: vec![7], ..tensor("t", U32, &[1]) }, &[7, 0, 0, 0]);
    check(TensorProto { int32_data: vec![-2], ..tensor("t", I32, &[1]) }, &(-2_i32).to_le_bytes());
    check(TensorProto { int32_data: vec![-2, 3], ..tensor("t", I8, &[2]) }, &[254, 3]);
    check(TensorProto { int32_data: vec![200], ..tensor("t", U8, &[1]) }, &[200]);
    check(TensorProto { int32_data: vec![0x3c00], ..tensor("t", F16, &[1]) }, &[0, 0x3c]);
    check(TensorProto { int32_data: vec![0xbf80], ..tensor("t", BF16, &[1]) }, &[0x80, 0xbf]);
    check(TensorProto { int32_data: vec![0x21, 0x03], ..tensor("t", I4, &[3]) }, &[0x21, 0x03]);
    // The example in onnx.proto's words: x0 in the lowest six bits, then x1, …
    check(TensorProto { int32_data: vec![1, 2, 3, 4, 63], ..tensor("t", F6_E2M3, &[5]) }, &[0x81, 0x30, 0x10, 0x3f]);
    check(raw("t", F32, &[1], &[1, 2, 3, 4]), &[1, 2, 3, 4]);
    check(tensor("t", F32, &[0]), &[]);
}

#[test]
fn numbers_that_do_not_fit_their_type_are_refused() {
    for (dtype, value) in [(U8, 256), (I8, -129), (F16, 1 << 16), (F6_E2M3, 64), (F6_E2M3, -1)] {
        let tensor = TensorProto { int32_data: vec![value], ..tensor("t", dtype, &[1]) };
        assert!(super::tensor::own_bytes(&tensor).is_err(), "{dtype} {value}");
    }
    assert!(
        super::tensor::own_bytes(&TensorProto { string_data: vec!["a".into()], ..tensor("t", OnnxDType::String, &[1]) }).is_err()
    );
}

#[test]
fn quantized_networks_are_told_by_their_operators() {
    let check = |nodes: Vec<NodeProto>, initializer: Vec<TensorProto>, expected: &[OnnxQuantization], n_parameters| {
        let input = vec![value("x", F32, &[1, 32]), value("s", F32, &[]), value("z", U8, &[])];
        let network = of(GraphProto { node: nodes, initializer, input, ..GraphProto::default() });
        assert_eq!((network.quantization.as_slice(), network.n_parameters), (expected, n_parameters), "{:?}", network.operators);
    };
    let weights = || raw("w", I8, &[32, 4], &[0; 128]);
    let scales = || raw("ws", F32, &[4], &[0; 16]);
    let zeros = || raw("wz", I8, &[4], &[0; 4]);
    let bias = || raw("b", I32, &[4], &[0; 16]);
    let dequantized = || node("DequantizeLinear", &["w", "ws", "wz"], "wd");
    check(vec![dequantized()], vec![weights(), scales(), zeros()], &[OnnxQuantization::WeightsOnly], 128);
    let nodes = vec![
        node("QuantizeLinear", &["x", "s", "z"], "q"),
        node("DequantizeLinear", &["q", "s", "z"], "d"),
        dequantized(),
        node("DequantizeLinear", &["b", "ws"], "bd"),
    ];
    check(nodes, vec![weights(), scales(), zeros(), bias()], &[OnnxQuantization::Qdq], 132);
    check(
        vec![node("DynamicQuantizeLinear", &["x"], "q"), node("MatMulInteger", &["q", "w"], "y")],
        vec![weights()],
        &[OnnxQuantization::Dynamic],
        128,
    );
    check(
        vec![node("QLinearMatMul", &["x", "s", "z", "w", "ws", "wz", "s", "z"], "y")],
        vec![weights(), scales(), zeros()],
        &[OnnxQuantization::QOperator],
        128,
    );
    let attribute = vec![int("K", 32), int("N", 4), int("bits", 4), int("block_size", 32)];
    let nbits = NodeProto { attribute, domain: Some("com.microsoft".into()), ..node("MatMulNBits", &["x", "w", "ws"], "y") };
    let packed = raw("w", U8, &[4, 1, 16], &[0; 64]);
    check(vec![nbits], vec![packed, scales()], &[OnnxQuantization::Blocks { bits: 4, block_len: 32 }], 128);
    check(vec![node("Relu", &["x"], "y")], vec![raw("i", I64, &[2], &[0; 16])], &[], 0);
}

#[test]
fn work_is_counted_where_shapes_are_stated() {
    let check = |nodes: Vec<NodeProto>, shapes: &[(&str, &[i64])], expected: Option<u64>| {
        let input = shapes.iter().map(|(name, shape)| value(name, F32, shape)).collect();
        let given: Vec<&str> = nodes.iter().map(|node| node.output[0].as_str()).collect();
        let mut graph = GraphProto { node: nodes.clone(), input, ..GraphProto::default() };
        // Shapes of what nodes give stand apart.
        graph.value_info = graph.input.extract_if(.., |value| given.contains(&value.name())).collect();
        assert_eq!(of(graph).multiply_adds.n_total, expected, "{nodes:?}");
    };
    let conv = || vec![node("Conv", &["x", "w"], "y")];
    check(conv(), &[("x", &[1, 3, 8, 8]), ("w", &[16, 3, 3, 3]), ("y", &[1, 16, 8, 8])], Some(16 * 64 * 27));
    check(conv(), &[("x", &[1, 16, 8, 8]), ("w", &[16, 1, 3, 3]), ("y", &[1, 16, 8, 8])], Some(16 * 64 * 9));
    check(conv(), &[("x", &[1, 3, 8, 8]), ("w", &[16, 3, 3, 3])], None);
    check(conv(), &[("x", &[-1, 3, 8, 8]), ("w", &[16, 3, 3, 3]), ("y", &[-1, 16, 8, 8])], None);
    check(vec![node("ConvTranspose", &["x", "w"], "y")], &[("x", &[1, 16, 8, 8]), ("w", &[16, 4, 2, 2])], Some(16 * 64 * 16));
    check(vec![node("MatMul", &["x", "w"], "y")], &[("x", &[2, 5, 3]), ("w", &[3, 7])], Some(2 * 5 * 3 * 7));
    check(vec![node("MatMul", &["x", "w"], "y")], &[("x", &[1, 4, 5, 3]), ("w", &[2, 1, 3, 7])], Some(2 * 4 * 5 * 3 * 7));
    check(vec![node("MatMul", &["x", "w"], "y")], &[("x", &[3]), ("w", &[3])], Some(3));
    let gemm = NodeProto { attribute: vec![int("transB", 1)], ..node("Gemm", &["x", "w"], "y") };
    check(vec![gemm], &[("x", &[5, 3]), ("w", &[7, 3])], Some(5 * 3 * 7));
    check(
        vec![node("LSTM", &["x", "w", "r"], "y")],
        &[("x", &[9, 1, 4]), ("w", &[1, 32, 4]), ("r", &[1, 32, 8])],
        Some(9 * (128 + 256)),
    );
    let dequantized = vec![node("DequantizeLinear", &["q"], "w"), node("MatMul", &["x", "w"], "y")];
    check(dequantized, &[("x", &[5, 3]), ("q", &[3, 7])], Some(105));
    check(vec![node("Attention", &["x"], "y")], &[("x", &[5, 3])], None);
    check(vec![node("Relu", &["x"], "y")], &[("x", &[5, 3])], Some(0));
    check(vec![node("MatMul", &["x", "w"], "y")], &[("x", &[1 << 40, 1 << 40]), ("w", &[1 << 40, 1])], None);
    // Inside a branch.
    let branch = GraphProto { node: vec![node("MatMul", &["x", "w"], "in")], ..GraphProto::default() };
    let choice = NodeProto { attribute: vec![inner("then_branch", branch)], ..node("If", &["x"], "y") };
    check(vec![choice], &[("x", &[5, 3]), ("w", &[3, 7])], None);
}
