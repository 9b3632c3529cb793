//! The menu that writes what is shown into files, and where the latest went.

use eframe::egui::containers::menu::MenuButton;
use eframe::egui::{Button, Label, RichText, Ui};

use crate::bench::ComparisonRow;
use crate::deploy::{Export, chart, has_measurement, shortened};
use crate::model::Model;
use crate::path_text;
use crate::state::{Command, Form, JobKind, JobRecord, JobStatus, Store};
use crate::ui::kit::{theme, widgets};

/// Draws the button with its menu, and the name of the file that was written last or that it was not saved.
///
/// Files go into the output folder under a name that is free, as the exports of the history do, and a button then shows them in
/// the file manager. No dialog asks for a name: one that is cancelled cannot be told from a desktop that has none.
pub fn export_menu_ui(
    ui: &mut Ui,
    store: &Store,
    model: &Model,
    form: &Form,
    rows: &[ComparisonRow],
    commands: &mut Vec<Command>,
) {
    ui.scope(|ui| {
        ui.spacing_mut().button_padding = eframe::egui::vec2(8.0, 3.0);
        ui.spacing_mut().interact_size.y = 24.0;
        let (button, _) = MenuButton::from_button(Button::new(RichText::new("Export").size(12.0))).ui(ui, |ui| {
            ui.set_min_width(180.0);
            let plot = form.plot(rows);
            let is_drawn = has_measurement(&chart(plot, rows));
            for what in [Export::Report, Export::PlotPng(plot), Export::PlotSvg(plot), Export::TableCsv, Export::TableJson] {
                let is_possible = !rows.is_empty() && (is_drawn || !matches!(what, Export::PlotPng(_) | Export::PlotSvg(_)));
                let entry = ui.add_enabled(is_possible, Button::new(entry_text(what)));
                if entry.on_disabled_hover_text("None of it is measured yet").clicked() {
                    commands.push(Command::Export(what));
                    ui.close();
                }
            }
        });
        button
            .on_hover_text(format!("Write the report, the plot or the table of {} into the output folder", model.display_name()));
    });
    told_ui(ui, store, commands);
}

fn entry_text(what: Export) -> &'static str {
    match what {
        Export::Report => "Report (HTML)",
        Export::PlotPng(_) => "This plot as PNG",
        Export::PlotSvg(_) => "This plot as SVG",
        Export::TableCsv => "Table as CSV",
        Export::TableTsv => "Table as TSV",
        Export::TableJson => "Table as JSON",
    }
}

/// `report`, `plot as PNG`: what a job writes.
#[must_use]
pub fn what_text(what: Export) -> &'static str {
    match what {
        Export::Report => "report",
        Export::PlotPng(_) => "plot as PNG",
        Export::PlotSvg(_) => "plot as SVG",
        Export::TableCsv => "table as CSV",
        Export::TableTsv => "table as TSV",
        Export::TableJson => "table as JSON",
    }
}

fn told_ui(ui: &mut Ui, store: &Store, commands: &mut Vec<Command>) {
    let failure = store.latest_job(|kind| matches!(kind, JobKind::Export(_))).and_then(failure_of);
    let told = |ui: &mut Ui, text: String, color| ui.add(Label::new(RichText::new(text).size(12.0).color(color)).extend());
    if let Some(error) = failure {
        // The status bar has the words.
        let words = format!("{}\n{}", widgets::sentence(&error.to_string()), widgets::sentence(&error.hint()));
        told(ui, "Not saved".into(), theme::bad(ui)).on_hover_text(words);
    } else if let Some(path) = &store.exported {
        if widgets::small_button(ui, "Reveal", "Reveal export").on_hover_text("Show it in the file manager").clicked() {
            commands.push(Command::Reveal(path.clone()));
        }
        let name = path_text::file_name(path);
        told(ui, format!("Saved {}", shortened(&name)), theme::muted(ui)).on_hover_text(path_text::shown(path));
    }
}

fn failure_of(job: &JobRecord) -> Option<&crate::Error> {
    match &job.status {
        JobStatus::Failed(error) => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::ChartKind;
    use crate::deploy::test_rows::rows;
    use crate::ui::test_support::{PageState, page_harness, shoot, store_with_model_and_machine};
    use crate::worker::JobId;
    use egui_kittest::Harness;
    use egui_kittest::kittest::{NodeT as _, Queryable as _};

    fn page(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
        let Some(model) = store.model.ready().cloned() else { return };
        widgets::card_with_actions(
            ui,
            "All numbers",
            |ui| export_menu_ui(ui, store, &model, form, &rows(), commands),
            |ui| {
                ui.label("rows");
            },
        );
    }

    fn unmeasured_page(ui: &mut Ui, store: &Store, form: &mut Form, commands: &mut Vec<Command>) {
        let Some(model) = store.model.ready().cloned() else { return };
        let rows: Vec<ComparisonRow> = rows().into_iter().map(|row| ComparisonRow { run: None, quality: None, ..row }).collect();
        export_menu_ui(ui, store, &model, form, &rows, commands);
    }

    fn open(harness: &mut Harness<'_, PageState>) {
        harness.get_by_label("Export").click();
        harness.run();
    }

    #[test]
    fn each_entry_asks_for_its_file() {
        let check = |label: &str, plot, expected| {
            let form = Form { compare_plot: Some(plot), ..Form::default() };
            let mut harness = page_harness(page, store_with_model_and_machine(), form);
            open(&mut harness);
            shoot(&mut harness, "export-menu");
            harness.get_by_label(label).click();
            harness.run();
            assert_eq!(harness.state().commands, [Command::Export(expected)], "{label}");
            assert!(harness.query_by_label(label).is_none(), "the menu is closed");
        };
        check("Report (HTML)", ChartKind::SizeSpeed, Export::Report);
        check("This plot as PNG", ChartKind::SizeSpeed, Export::PlotPng(ChartKind::SizeSpeed));
        check("This plot as SVG", ChartKind::Memory, Export::PlotSvg(ChartKind::Memory));
        check("This plot as SVG", ChartKind::Decode, Export::PlotSvg(ChartKind::Decode));
        check("Table as CSV", ChartKind::SizeSpeed, Export::TableCsv);
        check("Table as JSON", ChartKind::SizeSpeed, Export::TableJson);
    }

    #[test]
    fn a_plot_of_nothing_cannot_be_exported() {
        let mut harness = page_harness(unmeasured_page, store_with_model_and_machine(), Form::default());
        open(&mut harness);
        let is_enabled = |label: &str| !harness.get_by_label(label).accesskit_node().is_disabled();
        assert!(!is_enabled("This plot as PNG") && is_enabled("Report (HTML)") && is_enabled("Table as CSV"));
    }

    #[test]
    fn the_written_file_is_told_and_shown_and_so_is_a_failure() {
        let mut store = store_with_model_and_machine();
        store.exported = Some("/home/ada/models/a-report.html".into());
        let mut harness = page_harness(page, store, Form::default());
        shoot(&mut harness, "export-told");
        assert!(harness.query_by_label("Saved a-report.html").is_some());
        harness.get_by_label("Reveal export").click();
        harness.run();
        assert_eq!(harness.state().commands, [Command::Reveal("/home/ada/models/a-report.html".into())]);
        let mut store = store_with_model_and_machine();
        let error = crate::Error::OutputExists { path: "/full/a.html".into() };
        store.jobs.push(JobRecord::new(JobId(1), JobKind::Export(Export::Report)).with_status(JobStatus::Failed(error)));
        let harness = page_harness(page, store, Form::default());
        assert!(harness.query_by_label("Not saved").is_some());
    }
}
