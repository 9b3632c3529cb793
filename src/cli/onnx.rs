//! `planish inspect` of an ONNX network.

use serde_json::{Value as Json, json};

use super::args::InspectParts;
use super::output::{columns_text, facts_text, print_json, print_text};
use crate::error::Result;
use crate::model::{OnnxNetwork, OnnxPlace, OnnxPort};
use crate::{path_text, units};

/// Most operators that the text lists; JSON has all.
const MAX_OPERATORS: usize = 20;

/// Prints what the network is.
pub(super) fn inspect(network: &OnnxNetwork, parts: InspectParts, as_json: bool) -> Result<()> {
    if as_json { print_json(&network_json(network, parts)) } else { print_text(&network_text(network, parts)) }
}

fn network_text(network: &OnnxNetwork, parts: InspectParts) -> String {
    let mut text = facts_text(&facts(network));
    let ports = |ports: &[OnnxPort], kind: &str| {
        let row = |port: &OnnxPort| vec![port.name.clone(), port.type_text.clone(), port.shape_text()];
        columns_text(&[kind, "type", "shape"], &ports.iter().map(row).collect::<Vec<_>>(), &[])
    };
    text.push_str(&format!("\n\n{}\n\n{}", ports(&network.inputs, "input"), ports(&network.outputs, "output")));
    let rows: Vec<Vec<String>> = network
        .operators
        .iter()
        .take(MAX_OPERATORS)
        .map(|operator| vec![operator.full_name(), units::count_text(operator.n_nodes)])
        .collect();
    text.push_str(&format!("\n\n{}", columns_text(&["operator", "nodes"], &rows, &[1])));
    let n_more = network.operators.len().saturating_sub(MAX_OPERATORS);
    if n_more > 0 {
        text.push_str(&format!("\n{} more", units::count_of(n_more, "operator")));
    }
    for warning in &network.warnings {
        text.push_str(&format!("\n\nwarning: {}", path_text::one_line(warning)));
    }
    if parts.metadata && !network.metadata.is_empty() {
        let rows: Vec<Vec<String>> = network.metadata.iter().map(|(key, value)| vec![key.clone(), value.clone()]).collect();
        text.push_str(&format!("\n\n{}", columns_text(&["key", "value"], &rows, &[])));
    }
    if parts.tensors {
        let row = |tensor: &crate::model::OnnxTensor| {
            let place = match tensor.place {
                OnnxPlace::Raw | OnnxPlace::Fields => "in the file".to_string(),
                OnnxPlace::External { file_idx, .. } => {
                    network.files.get(file_idx).map_or_else(String::new, |file| path_text::file_name(file))
                }
            };
            let shape = tensor.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ");
            vec![tensor.name.clone(), tensor.dtype.to_string(), shape, units::exact_bytes_text(tensor.size_bytes), place]
        };
        let rows: Vec<Vec<String>> = network.tensors.iter().map(row).collect();
        text.push_str(&format!("\n\n{}", columns_text(&["tensor", "type", "shape", "size", "data"], &rows, &[3])));
    }
    text
}

fn facts(network: &OnnxNetwork) -> Vec<(&'static str, String)> {
    let or_not_stated = |text: &str| if text.is_empty() { "not stated".to_string() } else { text.to_string() };
    let mut facts = vec![
        ("name", network.display_name()),
        ("file", path_text::shown(&network.path)),
        ("format", format!("ONNX, IR version {}", network.ir_version)),
        ("size", format!("{} ({})", units::bytes_text(network.size_bytes), units::exact_bytes_text(network.size_bytes))),
        ("producer", or_not_stated(&network.producer)),
        ("operator sets", or_not_stated(&network.opsets_text())),
        ("parameters", format!("{} ({})", units::parameters_text(network.n_parameters), units::count_text(network.n_parameters))),
        ("quantized", network.quantization_text()),
        ("nodes", units::count_text(network.n_nodes)),
        ("multiply-adds", network.multiply_adds.text()),
    ];
    if network.files.len() > 1 {
        facts.push(("files", network.files.len().to_string()));
    }
    if network.n_subgraphs > 0 {
        facts.push(("inner graphs", units::count_text(network.n_subgraphs)));
    }
    if network.n_functions > 0 {
        facts.push(("functions", units::count_text(network.n_functions)));
    }
    let open = network.open_dims();
    if !open.is_empty() {
        facts.push(("open lengths", open.join(", ")));
    }
    let dtypes = network.dtypes.iter().map(|sum| {
        format!("{}: {} in {}", sum.dtype, units::count_of(sum.n_tensors, "tensor"), units::bytes_text(sum.size_bytes))
    });
    facts.push(("data types", dtypes.collect::<Vec<_>>().join(", ")));
    facts.push(("what next", OnnxNetwork::WHAT_NEXT.into()));
    facts
}

fn network_json(network: &OnnxNetwork, parts: InspectParts) -> Json {
    let mut json = json!(network);
    json["name"] = network.display_name().into();
    json["format"] = "ONNX".into();
    json["can_be_converted"] = false.into();
    if !parts.metadata
        && let Some(object) = json.as_object_mut()
    {
        object.remove("metadata");
    }
    if parts.tensors {
        json["tensors"] = json!(network.tensors);
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MultiplyAdds, OnnxDType, OnnxDTypeSum, OnnxDim, OnnxOperator, OnnxOpset, OnnxTensor};

    fn network() -> OnnxNetwork {
        let port =
            |name: &str, shape| OnnxPort { name: name.into(), type_text: "F32".into(), dtype: Some(OnnxDType::F32), shape };
        OnnxNetwork {
            path: "/m/det.onnx".into(),
            files: vec!["/m/det.onnx".into(), "/m/det.data".into()],
            size_bytes: 4096,
            graph_name: "g".into(),
            ir_version: 8,
            producer: "pytorch 2.1".into(),
            doc_string: String::new(),
            opsets: vec![OnnxOpset { domain: "ai.onnx".into(), version: 17 }],
            inputs: vec![port("x", Some(vec![OnnxDim::Named("batch".into()), OnnxDim::Fixed(3), OnnxDim::Open]))],
            outputs: vec![port("y", None)],
            operators: vec![OnnxOperator { domain: "ai.onnx".into(), name: "Conv".into(), n_nodes: 62 }],
            n_nodes: 62,
            n_subgraphs: 1,
            n_functions: 0,
            n_parameters: 1_200_000,
            dtypes: vec![OnnxDTypeSum { dtype: OnnxDType::F32, n_tensors: 1, n_elements: 6, size_bytes: 24 }],
            tensors: vec![OnnxTensor {
                name: "w".into(),
                dtype: OnnxDType::F32,
                shape: vec![2, 3],
                n_elements: 6,
                size_bytes: 24,
                place: OnnxPlace::External { file_idx: 1, offset: 0 },
                is_initializer: true,
            }],
            quantization: Vec::new(),
            multiply_adds: MultiplyAdds { n_total: None, n_nodes: 62, n_unknown: 62 },
            metadata: vec![("author".into(), "me".into())],
            unknown_fields: Vec::new(),
            warnings: vec!["odd".into()],
        }
    }

    #[test]
    fn the_text_says_what_it_is_and_what_cannot_be_done() {
        let text = network_text(&network(), InspectParts { tensors: true, metadata: true });
        for part in [
            "ONNX, IR version 8",
            "pytorch 2.1",
            "ai.onnx 17",
            "batch × 3 × ?",
            "any shape",
            "Conv",
            "unknown: 62 of 62 matrix products",
            "det.data",
            "author",
            "warning: odd",
            OnnxNetwork::WHAT_NEXT,
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn json_has_long_lists_only_when_asked() {
        let json = network_json(&network(), InspectParts { tensors: false, metadata: false });
        assert_eq!((json.get("tensors"), json.get("metadata")), (None, None));
        assert_eq!(
            (&json["format"], &json["can_be_converted"], &json["path"]),
            (&json!("ONNX"), &json!(false), &json!("/m/det.onnx"))
        );
        assert_eq!(json["inputs"][0]["shape"], json!(["batch", 3, null]));
        assert_eq!(json["operators"][0], json!({ "domain": "ai.onnx", "name": "Conv", "n_nodes": 62 }));
        let json = network_json(&network(), InspectParts { tensors: true, metadata: true });
        assert_eq!(json["tensors"][0]["place"], json!({ "external": { "file_idx": 1, "offset": 0 } }));
        assert_eq!(json["metadata"], json!([["author", "me"]]));
    }
}
