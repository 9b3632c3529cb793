//! The Model page for an ONNX network: what it takes and gives, what it consists of, and that it is only shown.

use std::sync::Arc;

use eframe::egui::{Label, RichText, Ui};

use super::page::opened_header_ui;
use crate::model::{OnnxNetwork, OnnxPort};
use crate::path_text;
use crate::state::{Command, Form};
use crate::ui::kit::memo::{self, Same};
use crate::ui::kit::theme::{self, ValueKind};
use crate::ui::kit::widgets::{
    StatTile, Tone, card, card_gap, card_with_actions, key_value_grid, notice, sentence, small_button, stat_tiles, two_columns,
};
use crate::units::{bytes_text, count_of, count_text, exact_bytes_text, parameters_text};

/// Most operators, inputs and outputs that are listed.
const MAX_ROWS: usize = 24;
/// Most characters that are shown of what the file's author wrote: a hostile name may have millions.
const MAX_CHARS: usize = 120;
/// The same for a description.
const MAX_DESCRIPTION_CHARS: usize = 400;

/// Draws its facts.
pub fn onnx_ui(ui: &mut Ui, network: &Arc<OnnxNetwork>, form: &mut Form, commands: &mut Vec<Command>) {
    opened_header_ui(ui, &network.display_name(), &network.path, form, commands);
    notice(ui, Tone::Neutral, &format!("This is an ONNX network: {}.", OnnxNetwork::WHAT_NEXT));
    for warning in &network.warnings {
        notice(ui, Tone::Warn, &sentence(&short(warning, MAX_DESCRIPTION_CHARS)));
    }
    card_gap(ui);
    let facts = memo::kept(ui, "onnx page facts", Same::of(network), || Facts::new(network));
    stat_tiles(ui, &facts.tiles);
    card_gap(ui);
    two_columns(
        ui,
        0.5,
        |ui| {
            rows_ui(ui, "Inputs", &facts.inputs);
            card_gap(ui);
            rows_ui(ui, "Outputs", &facts.outputs);
            card_gap(ui);
            file_ui(ui, network, &facts, commands);
        },
        |ui| {
            rows_ui(ui, "Operators", &facts.operators);
            card_gap(ui);
            rows_ui(ui, "Data types", &facts.dtypes);
        },
    );
}

/// Two texts beside each other.
type Row = (String, String);

/// What is written on the page, made once.
struct Facts {
    tiles: Vec<StatTile>,
    inputs: Vec<Row>,
    outputs: Vec<Row>,
    operators: Vec<Row>,
    dtypes: Vec<Row>,
    file: Vec<Row>,
    description: String,
}

impl Facts {
    fn new(network: &OnnxNetwork) -> Self {
        let port = |port: &OnnxPort| {
            let text = format!("{}, {}", port.type_text, port.shape_text());
            (short(&port.name, MAX_CHARS), short(&text, MAX_CHARS))
        };
        let operators = network.operators.iter().map(|operator| {
            let name = short(&operator.full_name(), MAX_CHARS);
            (name, count_of(operator.n_nodes, "node"))
        });
        let dtypes = network.dtypes.iter().map(|sum| {
            let text = format!("{}, {}", count_of(sum.n_tensors, "tensor"), bytes_text(sum.size_bytes));
            (sum.dtype.name().to_string(), text)
        });
        Self {
            tiles: tiles(network),
            inputs: first_rows(network.inputs.iter().map(port)),
            outputs: first_rows(network.outputs.iter().map(port)),
            operators: first_rows(operators),
            dtypes: first_rows(dtypes),
            file: file_rows(network),
            description: short(&network.doc_string, MAX_DESCRIPTION_CHARS),
        }
    }
}

/// A text on one line, cut to so many characters.
fn short(text: &str, max_chars: usize) -> String {
    let cut: String = text.chars().take(max_chars).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{more}", path_text::one_line(&cut))
}

/// The first `MAX_ROWS`, and how many more there are.
fn first_rows(rows: impl ExactSizeIterator<Item = Row>) -> Vec<Row> {
    let n_more = rows.len().saturating_sub(MAX_ROWS);
    let more = (n_more > 0).then(|| ("…".to_string(), format!("{} more", count_text(n_more as u64))));
    rows.take(MAX_ROWS).chain(more).collect()
}

fn tiles(network: &OnnxNetwork) -> Vec<StatTile> {
    let fact = |label: &str, text: &str| StatTile::from_text(label, text, ValueKind::Fact);
    let products = &network.multiply_adds;
    let (computed, note) = match products.n_total {
        Some(n) if products.n_nodes > 0 => (parameters_text(n), count_text(n)),
        Some(_) => ("none".into(), "no matrix products".into()),
        None => {
            let (unknown, all) = (count_text(products.n_unknown), count_of(products.n_nodes, "product"));
            ("unknown".into(), format!("the file leaves lengths open at {unknown} of {all}"))
        }
    };
    let (quantized, how) = match network.quantization.as_slice() {
        [] => ("no", "floats".into()),
        _ => ("yes", network.quantization_text()),
    };
    vec![
        fact("Parameters", &parameters_text(network.n_parameters)).note(count_text(network.n_parameters)),
        fact("Size", &bytes_text(network.size_bytes)).note(exact_bytes_text(network.size_bytes)),
        fact("Nodes", &count_text(network.n_nodes)).note(count_of(network.operators.len(), "operator")),
        fact("Multiply-adds", &computed).note(note),
        fact("Quantized", quantized).note(how),
    ]
}

fn rows_ui(ui: &mut Ui, title: &str, rows: &[Row]) {
    card(ui, title, |ui| {
        if rows.is_empty() {
            ui.label(RichText::new("None").color(theme::muted(ui)));
        } else {
            key_value_grid(ui, rows);
        }
    });
}

fn file_rows(network: &OnnxNetwork) -> Vec<Row> {
    let or_not_stated = |text: &str| if text.is_empty() { "not stated".to_string() } else { short(text, MAX_CHARS) };
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
        rows.push(("Open lengths", short(&open.join(", "), MAX_CHARS)));
    }
    rows.into_iter().map(|(name, text)| (name.to_string(), text)).collect()
}

fn file_ui(ui: &mut Ui, network: &OnnxNetwork, facts: &Facts, commands: &mut Vec<Command>) {
    let actions = |ui: &mut Ui| {
        if small_button(ui, "Show in folder", "Show in folder").clicked() {
            commands.push(Command::Reveal(network.path.clone()));
        }
    };
    card_with_actions(ui, "File", actions, |ui| {
        key_value_grid(ui, &facts.file);
        if !facts.description.is_empty() {
            ui.add(Label::new(RichText::new(&facts.description).small().color(theme::muted(ui))).wrap());
        }
    });
}
