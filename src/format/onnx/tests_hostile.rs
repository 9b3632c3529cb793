//! Files that are damaged or made to do harm: each is refused with its cause, soon, and without much memory.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;

use super::file::parse;
use super::proto::{
    FunctionProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, TypeProto, type_proto,
};
use super::test_files::{inner, model, node, raw, small_graph, tensor, value, write};
use super::{OnnxFile, UnknownField, read_onnx, set_external, to_bytes, wire};
use crate::error::{Error, Result};
use crate::model::OnnxDType::{self, F32, I4, I64, U8};

fn read(bytes: &[u8]) -> Result<OnnxFile> {
    parse(Bytes::copy_from_slice(bytes), Path::new("x"))
}

fn read_model(model: &ModelProto) -> Result<OnnxFile> {
    read(&model.encode_to_vec())
}

/// Checks that a graph is refused with these words.
fn refused(graph: GraphProto, expected: &str) {
    match read_model(&model(graph)) {
        Err(error) => assert_eq!(error.to_string(), format!("damaged ONNX, {expected}: x")),
        Ok(_) => panic!("{expected}"),
    }
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
    [bytes, content.to_vec()].concat()
}

/// A model with this as its graph.
fn with_graph(graph: &[u8]) -> Vec<u8> {
    // ir_version 8, graph, and version 17 of the standard's operators.
    [&[0x08, 8][..], &field(7, graph), &field(8, &[0x10, 17])].concat()
}

#[test]
fn a_small_model_is_read() {
    let file = read_model(&model(small_graph())).unwrap();
    assert_eq!((file.warnings.len(), file.unknown_fields.len(), file.tensors.len()), (0, 0, 2));
    assert_eq!(file.model, model(small_graph()));
    assert_eq!(file.check_rewritable(), Ok(()));
}

#[test]
fn every_prefix_is_an_error() {
    let bytes = to_bytes(&model(small_graph()), Path::new("x")).unwrap();
    assert!(read(&bytes).is_ok());
    for len in 0..bytes.len() {
        let error = read(&bytes[..len]).expect_err(&format!("prefix of {len} bytes"));
        let is_told = matches!(error, Error::Truncated { .. } | Error::DamagedFile { .. } | Error::Placeholder { .. });
        assert!(is_told, "{len}: {error}");
    }
}

#[test]
fn every_flipped_byte_is_an_error_or_a_model() {
    let bytes = to_bytes(&model(small_graph()), Path::new("x")).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            let _ = read(&bytes);
        }
    }
}

#[test]
fn what_contradicts_the_encoding_is_told() {
    let check = |bytes: &[u8], expected: &str| match read(bytes) {
        Err(error) => assert_eq!(error.to_string(), format!("{expected}: x")),
        Ok(_) => panic!("{expected}"),
    };
    check(&[0x08, 8, 0x3b], "damaged ONNX, byte 2, in a ModelProto, begins no field (key 59)");
    check(&[0x08, 8, 0x00], "damaged ONNX, byte 2, in a ModelProto, begins no field (key 0)");
    check(&[0x08, 8, 0xff, 0xff, 0xff, 0xff, 0x7f], "damaged ONNX, byte 2, in a ModelProto, begins no field (key 34359738367)");
    check(&[&[0x08][..], &[0xff; 11]].concat(), "damaged ONNX, ModelProto, ir_version: a number has more than 64 bits");
    check(&[0x08, 8, 0x38, 1], "damaged ONNX, ModelProto.graph is written as another kind of value (wire type Varint)");
    check(&[0x0a, 0], "damaged ONNX, ModelProto.ir_version is written as another kind of value (wire type Delimited)");
    check(&[0x08, 8, 0x3a, 5, 0x0a], "ModelProto.graph needs 5 bytes, only 1 are left in the file");
    let inner = [0x08, 8, 0x3a, 2, 0x0a, 4, 0x42, 2, 0x10, 17];
    check(&inner, "damaged ONNX, GraphProto.node has 4 bytes, but the message around it ends after 0");
    check(&with_graph(&field(2, b"\xff\xfe")), "damaged ONNX, GraphProto.name at byte 6 is not text in UTF-8");
    check(&with_graph(&field(5, &field(4, &[0; 5]))), "damaged ONNX, TensorProto.float_data has 5 bytes for numbers of 4");
    check(
        &with_graph(&field(5, &field(7, &[1, 0x80]))),
        "damaged ONNX, TensorProto.int64_data has 1 bytes, but the message around it ends after 0",
    );
    check(&[0x08, 8, 0x42, 2, 0x10, 17], "damaged ONNX, it has no graph");
    check(&[0x08, 0, 0x3a, 0, 0x42, 2, 0x10, 17], "damaged ONNX, its IR version is 0");
    let no_opset = "damaged ONNX, it does not say which version of the operators it uses; the end of the file may be missing";
    check(&[0x08, 8, 0x3a, 0], no_opset);
}

#[test]
fn each_wrong_wire_type_is_an_error() {
    use super::schema::{Kind, Message};
    for message in [Message::Model, Message::Graph, Message::Node, Message::Tensor, Message::Attribute] {
        for found in message.fields() {
            for wire_type in [0_u8, 1, 2, 3, 4, 5, 6, 7] {
                let is_right = match found.kind {
                    Kind::Int(_) => wire_type == 0 || found.is_repeated && wire_type == 2,
                    Kind::Float => wire_type == 5 || found.is_repeated && wire_type == 2,
                    Kind::Double => wire_type == 1 || found.is_repeated && wire_type == 2,
                    _ => wire_type == 2,
                };
                let key = found.number << 3 | u32::from(wire_type);
                let mut bytes = Vec::new();
                prost::encode_length_delimiter(key as usize, &mut bytes).unwrap();
                bytes.extend([0; 8]);
                let bytes = match message {
                    Message::Graph => with_graph(&bytes),
                    Message::Node => with_graph(&field(1, &bytes)),
                    Message::Tensor => with_graph(&field(5, &bytes)),
                    Message::Attribute => with_graph(&field(1, &field(5, &bytes))),
                    _ => bytes,
                };
                if !is_right {
                    assert!(wire::check(&bytes, Path::new("x")).is_err(), "{message:?} {} {wire_type}", found.name);
                }
            }
        }
    }
}

#[test]
fn unknown_fields_are_noted_and_keep_a_file_from_being_rewritten() {
    let graph = small_graph().encode_to_vec();
    let unknown = [0xf0, 0x06, 1]; // field 110, a number
    let bytes =
        with_graph(&[graph.clone(), field(1, &[&node("Relu", &["x"], "r").encode_to_vec()[..], &unknown].concat())].concat());
    let file = read(&bytes).unwrap();
    assert_eq!(file.unknown_fields, [UnknownField { message: "NodeProto", number: 110 }]);
    assert_eq!(file.warnings, ["it has fields that this version of Planish does not know (field 110 of NodeProto)"]);
    let error = file.check_rewritable().unwrap_err();
    let expected = "cannot be written again without loss, it has what this version does not know (field 110 of NodeProto): x";
    assert_eq!(error.to_string(), expected);
    for value in [&[0xf1, 0x06, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0xf5, 0x06, 0, 0, 0, 0], &[0xf2, 0x06, 2, 9, 9]] {
        let bytes = [with_graph(&graph), value.to_vec()].concat();
        assert_eq!(read(&bytes).unwrap().unknown_fields, [UnknownField { message: "ModelProto", number: 110 }]);
        assert!(read(&bytes[..bytes.len() - 1]).is_err());
    }
    // However many there are.
    let many: Vec<u8> = (0..100_000_u32).flat_map(|idx| [0x80 + (idx % 16) as u8 * 8, 0x40 + (idx / 16 % 32) as u8, 0]).collect();
    assert_eq!(read(&[with_graph(&graph), many].concat()).unwrap().unknown_fields.len(), 16);
}

#[test]
fn millions_of_unknown_fields_are_refused() {
    let bytes = [with_graph(&[]), [0xf0, 0x06, 1].repeat(1_000_001)].concat();
    let error = soon("unknown fields", bytes).unwrap_err().to_string();
    assert_eq!(error, "damaged ONNX, more than 1000000 of its fields are unknown, as field 110 of ModelProto: x");
}

#[test]
fn nesting_ends_where_prost_ends() {
    // A message in a graph's node is 3 deep: model, graph, node, attribute; each graph in an attribute adds 3.
    let nested = |n: usize| {
        (0..n).fold(GraphProto::default(), |graph, idx| {
            let outer = NodeProto { attribute: vec![inner("body", graph)], ..node("If", &[], &format!("y{idx}")) };
            GraphProto { node: vec![outer], ..GraphProto::default() }
        })
    };
    assert!(read_model(&model(nested(33))).is_ok());
    refused(nested(34), "messages are nested more than 100 deep");
    // Exactly as deep as prost goes: sequences in sequences, two messages each, below model, graph, value.
    let sequences = |n: usize| {
        let deepest = TypeProto::default();
        let kind = (0..n).fold(deepest, |kind, _| {
            let sequence = type_proto::Sequence { elem_type: Some(Box::new(kind)) };
            TypeProto { value: Some(type_proto::Value::SequenceType(Box::new(sequence))), denotation: None }
        });
        GraphProto {
            input: vec![super::proto::ValueInfoProto { name: Some("x".into()), r#type: Some(kind), ..value("x", F32, &[]) }],
            ..GraphProto::default()
        }
    };
    assert!(read_model(&model(sequences(48))).is_ok());
    refused(sequences(49), "messages are nested more than 100 deep");
    // Thousands deep, written by hand.
    let mut bytes = Vec::new();
    for _ in 0..3000 {
        bytes = field(1, &field(5, &field(6, &bytes)));
    }
    assert!(read(&with_graph(&bytes)).is_err());
}

/// Most memory that refusing a file may take, beyond the file itself: read from the system where it tells.
#[cfg(target_os = "linux")]
const MAX_EXTRA_KIB: u64 = 100 << 10;

/// Largest memory of this process so far, in KiB; every test has a process of its own.
#[cfg(target_os = "linux")]
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Checks that reading is over in a second and takes little memory; returns what came out.
fn soon(what: &str, bytes: Vec<u8>) -> Result<OnnxFile> {
    let bytes = Bytes::from(bytes);
    #[cfg(target_os = "linux")]
    let before = {
        // Forgets the peak so far.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        peak_kib()
    };
    let start = Instant::now();
    let read = parse(bytes, Path::new("x"));
    // Less than a second in a release build on an idle machine.
    assert!(start.elapsed() < Duration::from_secs(30), "{what}: {:?}", start.elapsed());
    println!("{what}: {:?}", start.elapsed());
    #[cfg(target_os = "linux")]
    {
        let extra = peak_kib() - before;
        println!("{what}: {extra} KiB");
        assert!(extra < MAX_EXTRA_KIB, "{what}: {extra} KiB");
    }
    read
}

fn too_large(what: &str, bytes: Vec<u8>) {
    match soon(what, bytes) {
        Err(Error::DamagedFile { what: found, .. }) => assert!(found.contains("size in memory"), "{what}: {found}"),
        other => panic!("{what}: {:?}", other.map(|file| file.tensors.len())),
    }
}

#[test]
fn millions_of_tiny_nodes_are_refused_before_they_are_decoded() {
    too_large("nodes", with_graph(&[0x0a, 0].repeat(10_000_000)));
}

#[test]
fn millions_of_tiny_attributes_are_refused() {
    too_large("attributes", with_graph(&field(1, &[0x2a, 0].repeat(10_000_000))));
}

#[test]
fn millions_of_tiny_tensors_are_refused() {
    too_large("tensors", with_graph(&[0x2a, 0].repeat(10_000_000)));
}

#[test]
fn millions_of_empty_names_are_refused() {
    too_large("names", with_graph(&field(1, &[0x0a, 0].repeat(10_000_000))));
}

#[test]
fn nodes_with_one_name_each_are_refused() {
    // The first name of a node makes room for four.
    too_large("nodes with a name", with_graph(&[0x0a, 3, 0x0a, 1, b'x'].repeat(4_000_000)));
}

#[test]
fn small_numbers_that_decode_to_large_lists_are_refused() {
    too_large("int64_data", with_graph(&field(5, &field(7, &vec![0; 40_000_000]))));
}

#[test]
fn numbers_in_pieces_are_refused() {
    too_large("unpacked dims", with_graph(&field(5, &[0x08, 1].repeat(9_000_000))));
}

#[test]
fn a_long_text_is_refused() {
    match soon("text", with_graph(&field(2, &vec![b'a'; 40 << 20]))) {
        Err(Error::DamagedFile { what, .. }) => {
            assert_eq!(what, "GraphProto.name is a text of 41943040 bytes, at most 16777216 are read");
        }
        other => panic!("{:?}", other.map(|file| file.tensors.len())),
    }
}

#[test]
fn as_many_nodes_as_fit_are_read_in_the_same_bounds() {
    // 100,000 sound nodes.
    let nodes =
        (0..100_000).map(|idx| node("Relu", &[&if idx == 0 { "x".into() } else { format!("v{}", idx - 1) }], &format!("v{idx}")));
    let graph = GraphProto { node: nodes.collect(), input: vec![value("x", F32, &[1])], ..GraphProto::default() };
    let file = soon("100,000 nodes", model(graph).encode_to_vec()).unwrap();
    assert_eq!(file.warnings, [""; 0]);
}

#[test]
fn the_largest_chain_backwards_is_sorted_in_time() {
    let n = 100_000;
    let nodes =
        (0..n).rev().map(|idx| node("Relu", &[&if idx == 0 { "x".into() } else { format!("v{}", idx - 1) }], &format!("v{idx}")));
    let graph = GraphProto { node: nodes.collect(), input: vec![value("x", F32, &[1])], ..GraphProto::default() };
    let file = soon("backwards", model(graph).encode_to_vec()).unwrap();
    assert_eq!(file.warnings, ["nodes are not in the order of computation, which some programs refuse"]);
}

#[test]
fn values_come_from_somewhere_once() {
    let with = |change: fn(&mut GraphProto)| {
        let mut graph = small_graph();
        change(&mut graph);
        graph
    };
    refused(with(|graph| graph.node[0].input[0] = "z".into()), "node \"product\" (\"MatMul\") takes \"z\", which nothing gives");
    refused(with(|graph| graph.output[0].name = Some("z".into())), "output \"z\", which nothing gives");
    refused(with(|graph| graph.node[0].input[0] = "product".into()), "node \"product\" (\"MatMul\") depends on its own output");
    refused(with(|graph| graph.node[0].input[0] = "y".into()), "node \"product\" (\"MatMul\") depends on its own output");
    refused(with(|graph| graph.node[0].output[0] = "y".into()), "value \"y\" is given twice, again by node \"y\" (\"Add\")");
    refused(with(|graph| graph.node[0].output[0] = "w".into()), "value \"w\" is given twice, again by node \"w\" (\"MatMul\")");
    refused(with(|graph| graph.initializer[1].name = Some("w".into())), "initializer \"w\" appears twice");
    refused(with(|graph| graph.initializer[1].name = None), "an initializer has no name");
    refused(with(|graph| graph.input.push(value("x", F32, &[1]))), "input \"x\" appears twice");
    refused(with(|graph| graph.node[0].op_type = None), "node \"product\" (\"\") has no operator");
    let twice = |graph: &mut GraphProto| graph.node[0].attribute = vec![super::test_files::int("axis", 1); 2];
    refused(with(twice), "node \"product\" (\"MatMul\") has attribute \"axis\" twice");
    refused(with(|graph| graph.input[0] = value("x", F32, &[1; 65])), "value \"x\" has 65 dimensions, at most 64 are read");
    // As before IR version 4: an initializer is an input that may be left out. An input may be left out by an empty name.
    let sound = with(|graph| {
        graph.input.push(value("w", F32, &[3, 2]));
        graph.node[1].input.push(String::new());
    });
    assert!(read_model(&model(sound)).is_ok());
}

#[test]
fn inner_graphs_see_the_graphs_around_them() {
    let branch = |input: &str| GraphProto {
        node: vec![node("Relu", &[input], "inside")],
        output: vec![value("inside", F32, &[])],
        ..GraphProto::default()
    };
    let with = |input: &str| {
        let mut graph = small_graph();
        let choice = NodeProto { attribute: vec![inner("then_branch", branch(input))], ..node("If", &["x"], "chosen") };
        graph.node.push(choice);
        graph
    };
    let file = read_model(&model(with("product"))).unwrap();
    assert_eq!((file.survey.n_subgraphs, file.survey.operators.len(), file.warnings.len()), (1, 4, 0));
    refused(with("nowhere"), "node \"inside\" (\"Relu\") takes \"nowhere\", which nothing gives");
    refused(with("chosen"), "node \"chosen\" (\"If\") depends on its own output");
    // What is inside is not seen outside.
    let mut graph = with("x");
    graph.node[1].input[0] = "inside".into();
    refused(graph, "node \"y\" (\"Add\") takes \"inside\", which nothing gives");
}

#[test]
fn functions_are_walked_and_call_no_other_in_a_circle() {
    let function = |name: &str, called: &str| FunctionProto {
        name: Some(name.into()),
        domain: Some("own".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![NodeProto { domain: Some("own".into()), ..node(called, &["a"], "b") }],
        ..FunctionProto::default()
    };
    let with = |functions: Vec<FunctionProto>| ModelProto { functions, ..model(small_graph()) };
    let check = |functions, expected: &str| match read_model(&with(functions)) {
        Err(error) => assert_eq!(error.to_string(), format!("damaged ONNX, {expected}: x")),
        Ok(_) => panic!("{expected}"),
    };
    assert!(read_model(&with(vec![function("f", "g"), function("g", "Other")])).is_ok());
    check(vec![function("f", "f")], "function \"f\" calls itself");
    check(vec![function("f", "g"), function("g", "f")], "function \"f\" calls itself");
    check(vec![function("f", "x"), function("f", "x")], "function \"f\" is defined twice");
    let mut lost = function("f", "x");
    lost.output[0] = "c".into();
    check(vec![lost], "output \"c\" of function \"f\", which nothing gives");
}

#[test]
fn data_match_type_and_shape() {
    let check = |tensor: TensorProto, expected: &str| {
        refused(GraphProto { initializer: vec![tensor], ..GraphProto::default() }, &format!("tensor \"w\" {expected}"));
    };
    check(tensor("w", F32, &[2]), "of type F32 and shape [2] needs 2 values in float_data, but has 0");
    check(raw("w", F32, &[2], &[0; 7]), "of type F32 and shape [2] needs 8 bytes, but has 7");
    check(raw("w", I4, &[3], &[0; 3]), "of type I4 and shape [3] needs 2 bytes, but has 3");
    check(raw("w", F32, &[-1], &[]), "has the impossible shape [-1]");
    check(raw("w", F32, &[i64::MAX, 3], &[0; 4]), "has the impossible shape [9223372036854775807, 3]");
    check(raw("w", F32, &[1 << 62], &[0; 4]), "of type F32 has raw data");
    check(raw("w", F32, &[1; 65], &[0; 4]), "has 65 dimensions, at most 64 are read");
    check(TensorProto { data_type: Some(99), ..raw("w", F32, &[1], &[0; 4]) }, "has the unknown type 99");
    check(TensorProto { data_type: None, ..raw("w", F32, &[1], &[0; 4]) }, "has the unknown type 0");
    check(raw("w", OnnxDType::String, &[1], b"a"), "of type STRING has raw data");
    check(
        TensorProto { int64_data: vec![1], ..tensor("w", F32, &[1]) },
        "of type F32 has its values in int64_data, not in float_data",
    );
    check(TensorProto { float_data: vec![1.0], ..raw("w", F32, &[1], &[0; 4]) }, "has raw data and float_data");
    let segment = super::proto::tensor_proto::Segment { begin: Some(0), end: Some(1) };
    check(TensorProto { segment: Some(segment), ..raw("w", F32, &[1], &[0; 4]) }, "is cut into segments, which no program reads");
    for sound in [raw("w", F32, &[], &[0; 4]), raw("w", F32, &[0, 7], &[]), tensor("w", I64, &[0]), raw("w", I4, &[3], &[0; 2])] {
        assert!(read_model(&model(GraphProto { initializer: vec![sound], ..GraphProto::default() })).is_ok());
    }
}

#[test]
fn sparse_tensors_have_an_index_for_each_value() {
    let sparse = |indices: TensorProto, dims: &[i64]| GraphProto {
        sparse_initializer: vec![super::proto::SparseTensorProto {
            values: Some(raw("s", F32, &[2], &[0; 8])),
            indices: Some(indices),
            dims: dims.to_vec(),
        }],
        ..GraphProto::default()
    };
    let indices = |shape: &[i64], n| TensorProto { int64_data: vec![0; n], ..tensor("", I64, shape) };
    assert!(read_model(&model(sparse(indices(&[2], 2), &[3, 3]))).is_ok());
    assert!(read_model(&model(sparse(indices(&[2, 2], 4), &[3, 3]))).is_ok());
    for (indices, dims) in
        [(indices(&[3], 3), &[3, 3][..]), (indices(&[2, 3], 6), &[3, 3]), (indices(&[2], 2), &[1]), (indices(&[2], 2), &[-3])]
    {
        assert!(read_model(&model(sparse(indices, dims))).is_err(), "{dims:?}");
    }
}

/// A folder with a model whose only tensor is `n_bytes` bytes of another file.
fn external(location: &str, offset: &str, n_bytes: i64) -> (tempfile::TempDir, Result<OnnxFile>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("m")).unwrap();
    std::fs::write(folder.path().join("outside.bin"), [7; 64]).unwrap();
    std::fs::write(folder.path().join("m/inside.bin"), [7; 64]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../outside.bin", folder.path().join("m/link.bin")).unwrap();
    let mut tensor = tensor("w", U8, &[n_bytes]);
    set_external(&mut tensor, location, 0, u64::try_from(n_bytes).unwrap());
    tensor.external_data[1].value = Some(offset.into());
    let path = write(&folder.path().join("m"), &model(GraphProto { initializer: vec![tensor], ..GraphProto::default() }));
    let read = read_onnx(&path);
    (folder, read)
}

#[test]
fn data_in_other_files_are_found_and_read() {
    let (folder, read) = external("inside.bin", "60", 4);
    let file = read.unwrap();
    assert_eq!(file.files, ["m/model.onnx", "m/inside.bin"].map(|name| folder.path().join(name)));
    let tensor = &file.model.graph.as_ref().unwrap().initializer[0];
    assert_eq!(file.data(tensor).unwrap(), [7; 4].as_slice());
    std::fs::write(folder.path().join("m/inside.bin"), [7; 62]).unwrap();
    assert!(file.data(tensor).is_err());
}

#[test]
fn references_never_leave_the_folder_or_the_file() {
    let check = |location: &str, offset: &str, n_bytes: i64, expected: &str| {
        let (_folder, read) = external(location, offset, n_bytes);
        let text = read.expect_err(expected).to_string();
        assert!(text.contains(expected), "{text}");
    };
    let outside = "outside the folder of the file, which is never opened";
    check("../outside.bin", "0", 4, outside);
    check("m/../../outside.bin", "0", 4, outside);
    check("/etc/passwd", "0", 4, outside);
    check("", "0", 4, outside);
    #[cfg(unix)]
    check("link.bin", "0", 4, outside);
    check("nothing.bin", "0", 4, "its weights are in nothing.bin, which is not beside it");
    check(".", "0", 4, "not a regular file but a folder");
    check("inside.bin", "61", 4, "tensor \"w\" needs 4 bytes, only 3 are left in the file");
    check("inside.bin", "65", 0, "tensor \"w\" needs 0 bytes, only 0 are left in the file");
    check("inside.bin", "18446744073709551615", 4, "only 0 are left in the file");
    check("inside.bin", "99999999999999999999", 4, "has the offset \"99999999999999999999\"");
    check("inside.bin", "-4", 4, "has the offset \"-4\"");
    check("inside.bin", "0", i64::MAX, "only 64 are left in the file");
}

#[test]
fn one_file_under_many_names_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.bin"), [7; 64]).unwrap();
    let named = |n: usize| {
        let tensor = |idx: usize| {
            let mut tensor = tensor(&format!("t{idx}"), U8, &[4]);
            set_external(&mut tensor, &format!("{}a.bin", "./".repeat(idx)), 0, 4);
            tensor
        };
        let graph = GraphProto { initializer: (0..n).map(tensor).collect(), ..GraphProto::default() };
        read_onnx(&write(folder.path(), &model(graph)))
    };
    let file = named(100).unwrap();
    let own = std::fs::metadata(&file.path).unwrap().len();
    assert_eq!((file.files.len(), file.size_bytes), (2, own + 64));
}

#[test]
fn more_than_two_gigabytes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::File::create(&path).unwrap().set_len(2 << 30).unwrap();
    let error = read_onnx(&path).unwrap_err();
    assert!(error.to_string().starts_with("2147483648 bytes are more than the 2 GiB that an ONNX file may have"), "{error}");
}

#[test]
fn names_in_messages_are_short_and_harmless() {
    let mut graph = small_graph();
    graph.node[0].input[0] = format!("\u{1b}[31m{}", "z".repeat(1000));
    let error = read_model(&model(graph)).unwrap_err().to_string();
    assert!(error.len() < 300 && !error.contains('\u{1b}') && error.contains('…'), "{error}");
}

#[test]
fn metadata_may_be_long_but_not_without_end() {
    let entry = StringStringEntryProto { key: Some("vocabulary".into()), value: Some("a".repeat(1 << 20)) };
    let file = read_model(&ModelProto { metadata_props: vec![entry], ..model(small_graph()) }).unwrap();
    assert_eq!(file.model.metadata_props[0].value().len(), 1 << 20);
}
