//! The window while an ONNX network is open: what it is, and that nothing is offered that does not work.

use std::sync::Arc;

use eframe::egui;
use eframe::egui::accesskit::Role;
use egui_kittest::kittest::{NodeT as _, Queryable};

use crate::model::{
    MultiplyAdds, OnnxDType, OnnxDTypeSum, OnnxDim, OnnxNetwork, OnnxOperator, OnnxOpset, OnnxPort, OnnxQuantization,
};
use crate::state::{Command, Form, Page, Slot, Store, Theme};
use crate::ui::test_support::{has, page_harness, page_harness_sized, shoot, store_with_model_and_machine};

fn store() -> Store {
    let port = |name: &str, shape| OnnxPort { name: name.into(), type_text: "F32".into(), dtype: Some(OnnxDType::F32), shape };
    let image = vec![OnnxDim::Open, OnnxDim::Fixed(3), OnnxDim::Named("height".into()), OnnxDim::Named("width".into())];
    let operator = |domain: &str, name: &str, n_nodes| OnnxOperator { domain: domain.into(), name: name.into(), n_nodes };
    let network = OnnxNetwork {
        path: "/home/ada/models/det.onnx".into(),
        files: vec!["/home/ada/models/det.onnx".into()],
        size_bytes: 4_745_517,
        graph_name: "main".into(),
        ir_version: 7,
        producer: "pytorch 2.1".into(),
        doc_string: String::new(),
        opsets: vec![OnnxOpset { domain: "ai.onnx".into(), version: 12 }],
        inputs: vec![port("x", Some(image))],
        outputs: vec![port("mask", None)],
        operators: vec![operator("ai.onnx", "Conv", 62), operator("com.microsoft", "QLinearAdd", 2)],
        n_nodes: 64,
        n_subgraphs: 0,
        n_functions: 0,
        n_parameters: 1_180_000,
        dtypes: vec![OnnxDTypeSum { dtype: OnnxDType::F32, n_tensors: 130, n_elements: 1_180_000, size_bytes: 4_720_000 }],
        tensors: Vec::new(),
        quantization: vec![OnnxQuantization::Qdq],
        multiply_adds: MultiplyAdds { n_total: None, n_nodes: 62, n_unknown: 62 },
        metadata: Vec::new(),
        unknown_fields: Vec::new(),
        warnings: vec!["nodes are not in the order of computation, which some programs refuse".into()],
    };
    let network = Some(Arc::new(network));
    Store { network, model: Slot::Empty, conversions: Vec::new(), outcomes: Vec::new(), ..store_with_model_and_machine() }
}

#[test]
fn its_facts_are_shown() {
    for (variant, theme, name) in
        [(egui::Theme::Dark, Theme::Dark, "onnx-dark"), (egui::Theme::Light, Theme::Light, "onnx-light")]
    {
        let size = egui::vec2(1280.0, 1000.0);
        let form = Form { theme, ..Form::default() };
        let mut harness = page_harness_sized(crate::ui::window_ui, store(), form, size, 1.0, variant);
        shoot(&mut harness, name);
        harness.get_by_label("det");
        harness.get_by_label_contains(OnnxNetwork::WHAT_NEXT);
        for text in ["F32, ? × 3 × height × width", "62 nodes", "com.microsoft.QLinearAdd", "pytorch 2.1", "ai.onnx 12", "QDQ"]
        {
            assert!(has(&harness, text), "{text}");
        }
        assert!(has(&harness, "Nodes are not in the order of computation, which some programs refuse"));
        harness.get_by_label("Show in folder").click();
        harness.run();
        assert_eq!(harness.state().commands, [Command::Reveal("/home/ada/models/det.onnx".into())]);
    }
}

#[test]
fn no_page_offers_to_convert_it() {
    for page in [Page::Plan, Page::Optimize, Page::Compare] {
        let mut harness = page_harness(crate::ui::window_ui, store(), Form { page, ..Form::default() });
        harness.get_by_label("This is an ONNX network");
        let buttons: Vec<String> =
            harness.query_all_by_role(Role::Button).filter_map(|button| button.accesskit_node().label()).collect();
        let pages = Page::ALL.map(Page::label);
        let others: Vec<&str> = buttons.iter().map(String::as_str).filter(|name| !pages.contains(name)).collect();
        assert!(others.iter().all(|name| !name.contains("Convert") && !name.contains("Measure")), "{page:?}: {others:?}");
        harness.get_by_label("Go to Model").click();
        harness.run();
        assert_eq!(harness.state().form.page, Page::Model);
    }
}
