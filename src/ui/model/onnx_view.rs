//! The Model page for an ONNX network: what it takes and gives, what it consists of, and that it is only shown.

use std::sync::Arc;

use eframe::egui::{Label, RichText, Ui};

use super::page::opened_header_ui;
use crate::model::{OnnxNetwork, OnnxPort};
use crate::path_text;
use crate::state::{Command, Form};
use crate::ui::kit::theme::{self, ValueKind};
use crate::ui::kit::widgets::{
    StatTile, Tone, card, card_gap, card_with_actions, key_value_grid, notice, sentence, small_button, stat_tiles, two_columns,
};
use crate::units::{bytes_text, count_of, count_text, exact_bytes_text, parameters_text};

/// Most operators, inputs and outputs that are listed.
const MAX_ROWS: usize = 24;

/// Draws its facts.
pub fn onnx_ui(ui: &mut Ui, network: &Arc<OnnxNetwork>, form: &mut Form, commands: &mut Vec<Command>) {
    opened_header_ui(ui, &network.display_name(), &network.path, form, commands);
    notice(ui, Tone::Neutral, &format!("This is an ONNX network: {}.", OnnxNetwork::WHAT_NEXT));
    for warning in &network.warnings {
        notice(ui, Tone::Warn, &sentence(&path_text::one_line(warning)));
    }
    card_gap(ui);
    stat_tiles(ui, &tiles(network));
    card_gap(ui);
    two_columns(
        ui,
        0.5,
        |ui| {
            ports_ui(ui, "Inputs", &network.inputs);
            card_gap(ui);
            ports_ui(ui, "Outputs", &network.outputs);
            card_gap(ui);
            file_ui(ui, network, commands);
        },
        |ui| {
            operators_ui(ui, network);
            card_gap(ui);
            card(ui, "Data types", |ui| key_value_grid(ui, &dtype_rows(network)));
        },
    );
}

fn tiles(network: &OnnxNetwork) -> Vec<StatTile> {
    let fact = |label: &str, text: &str| StatTile::from_text(label, text, ValueKind::Fact);
    let products = &network.multiply_adds;
    let computed = match products.n_total {
        Some(n) if products.n_nodes > 0 => parameters_text(n),
        Some(_) => "none".into(),
        None => "unknown".into(),
    };
    let why = match products.n_total {
        Some(n) => count_text(n),
        None => format!(
            "the file leaves lengths open at {} of {}",
            count_text(products.n_unknown),
            count_of(products.n_nodes, "product")
        ),
    };
    vec![
        fact("Parameters", &parameters_text(network.n_parameters)).note(count_text(network.n_parameters)),
        fact("Size", &bytes_text(network.size_bytes)).note(exact_bytes_text(network.size_bytes)),
        fact("Nodes", &count_text(network.n_nodes)).note(count_of(network.operators.len(), "kind of operator")),
        fact("Multiply-adds", &computed).note(why),
        fact("Quantized", if network.quantization.is_empty() { "no" } else { "yes" }).note(
            match network.quantization.as_slice() {
                [] => "floats".into(),
                _ => network.quantization_text(),
            },
        ),
    ]
}

fn ports_ui(ui: &mut Ui, title: &str, ports: &[OnnxPort]) {
    card(ui, title, |ui| {
        let text = |port: &OnnxPort| format!("{}, {}", port.type_text, port.shape_text());
        let mut rows: Vec<(String, String)> =
            ports.iter().take(MAX_ROWS).map(|port| (path_text::one_line(&port.name).into_owned(), text(port))).collect();
        if ports.len() > MAX_ROWS {
            rows.push(("…".into(), format!("{} more", count_text((ports.len() - MAX_ROWS) as u64))));
        }
        if rows.is_empty() {
            ui.label(RichText::new("None").color(theme::muted(ui)));
        } else {
            key_value_grid(ui, &rows);
        }
    });
}

fn operators_ui(ui: &mut Ui, network: &OnnxNetwork) {
    card(ui, "Operators", |ui| {
        let row = |operator: &crate::model::OnnxOperator| {
            (path_text::one_line(&operator.full_name()).into_owned(), count_of(operator.n_nodes, "node"))
        };
        let rows: Vec<(String, String)> = network.operators.iter().take(MAX_ROWS).map(row).collect();
        key_value_grid(ui, &rows);
        let n_more = network.operators.len().saturating_sub(MAX_ROWS);
        if n_more > 0 {
            ui.label(RichText::new(format!("{} more", count_of(n_more, "kind"))).small().color(theme::muted(ui)));
        }
    });
}

fn dtype_rows(network: &OnnxNetwork) -> Vec<(&'static str, String)> {
    let row = |sum: &crate::model::OnnxDTypeSum| {
        (sum.dtype.name(), format!("{}, {}", count_of(sum.n_tensors, "tensor"), bytes_text(sum.size_bytes)))
    };
    network.dtypes.iter().map(row).collect()
}

fn file_ui(ui: &mut Ui, network: &OnnxNetwork, commands: &mut Vec<Command>) {
    let actions = |ui: &mut Ui| {
        if small_button(ui, "Show in folder", "Show in folder").clicked() {
            commands.push(Command::Reveal(network.path.clone()));
        }
    };
    card_with_actions(ui, "File", actions, |ui| {
        let or_not_stated = |text: &str| {
            let text = path_text::one_line(text);
            if text.is_empty() { "not stated".to_string() } else { text.into_owned() }
        };
        let mut rows = vec![
            ("Format", format!("ONNX, IR version {}", network.ir_version)),
            ("Producer", or_not_stated(&network.producer)),
            ("Operator sets", or_not_stated(&network.opsets_text())),
            ("Files", count_text(network.files.len() as u64)),
        ];
        if network.n_subgraphs > 0 {
            rows.push(("Inner graphs", count_text(network.n_subgraphs)));
        }
        if network.n_functions > 0 {
            rows.push(("Functions", count_text(network.n_functions)));
        }
        let open = network.open_dims();
        if !open.is_empty() {
            rows.push(("Open lengths", open.join(", ")));
        }
        key_value_grid(ui, &rows);
        if !network.doc_string.is_empty() {
            let text: String = network.doc_string.chars().take(400).collect();
            ui.add(Label::new(RichText::new(path_text::one_line(&text)).small().color(theme::muted(ui))).wrap());
        }
    });
}
