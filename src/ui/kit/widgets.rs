//! The parts that all pages are made of.

use eframe::egui::{
    self, Align, Button, Color32, CornerRadius, Frame, Label, Layout, Margin, Response, RichText, Role, Sense, Shape, Stroke,
    TextWrapMode, Ui, Vec2, WidgetInfo, vec2,
};

use super::buttons::make_room;
pub use super::buttons::{
    MAIN_ACTION, copy_button, give_main_action, keep_main_action, line_button, make_room_for_primary, make_room_for_small,
    primary_button, small_button, take_main_action,
};
use super::glossary;
use super::icons::{self, Icon};
use super::theme::{self, GAP};
pub use super::tiles::{StatTile, kind_tag, paint_kind_mark, stat_tile, stat_tiles};
use crate::error::Error;
use crate::state::Command;
pub use crate::units::sentence;

/// How serious something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Neither good nor bad.
    Neutral,
    /// Chosen or recommended.
    Accent,
    /// As it should be.
    Good,
    /// Deserves attention.
    Warn,
    /// Failed or does not fit.
    Bad,
}

impl Tone {
    /// The colour of text and marks.
    #[must_use]
    pub fn color(self, ui: &Ui) -> Color32 {
        match self {
            Self::Neutral => theme::palette(ui).text_secondary,
            Self::Accent => theme::accent(ui),
            Self::Good => theme::good(ui),
            Self::Warn => theme::warn(ui),
            Self::Bad => theme::bad(ui),
        }
    }

    /// The colour behind text of this tone.
    #[must_use]
    pub fn ground(self, ui: &Ui) -> Color32 {
        let p = theme::palette(ui);
        match self {
            Self::Neutral => p.neutral_soft,
            Self::Accent => p.accent_soft,
            Self::Good => p.good_soft,
            Self::Warn => p.warn_soft,
            Self::Bad => p.bad_soft,
        }
    }

    /// The mark that carries the same meaning as the colour.
    #[must_use]
    pub fn icon(self) -> Icon {
        match self {
            Self::Neutral => Icon::Info,
            Self::Accent | Self::Good => Icon::Check,
            Self::Warn => Icon::Warning,
            Self::Bad => Icon::Error,
        }
    }
}

/// A heading for the eyes and for screen readers, which jump from one to the next.
pub fn heading_ui(ui: &mut Ui, text: RichText) -> Response {
    let words = text.text().to_string();
    let response = ui.add(Label::new(text).wrap());
    response.widget_info(|| WidgetInfo::labeled(Role::Heading, true, &words));
    response
}

/// The heading of a question, an empty page, or something of that size.
pub fn big_heading_ui(ui: &mut Ui, text: &str) -> Response {
    heading_ui(ui, RichText::new(text).text_style(theme::title_style()).size(18.0))
}

/// The top of a page: title, one line about it, and actions at the right.
pub fn page_header(ui: &mut Ui, title: &str, subtitle: &str, actions: impl FnOnce(&mut Ui)) {
    const HEIGHT: f32 = 50.0;
    ui.allocate_ui_with_layout(vec2(ui.available_width(), HEIGHT), Layout::right_to_left(Align::Center), |ui| {
        actions(ui);
        ui.with_layout(Layout::top_down(Align::Min), |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            heading_ui(ui, RichText::new(title).heading());
            let subtitle = RichText::new(subtitle).color(theme::palette(ui).text_secondary);
            ui.add(Label::new(subtitle).wrap());
        });
    });
    ui.add_space(theme::UNIT * 2.0);
}

/// A surface with a title; no heading for an empty one.
pub fn card<R>(ui: &mut Ui, title: &str, add: impl FnOnce(&mut Ui) -> R) -> R {
    card_with_actions(ui, title, |_| {}, add)
}

/// A card with actions at the right of its title; without a title there are no actions either.
pub fn card_with_actions<R>(ui: &mut Ui, title: &str, actions: impl FnOnce(&mut Ui), add: impl FnOnce(&mut Ui) -> R) -> R {
    let p = theme::palette(ui);
    Frame::new()
        .fill(p.card)
        .stroke(Stroke::new(1.0, p.line))
        .corner_radius(CornerRadius::same(theme::CARD_RADIUS))
        .inner_margin(Margin { left: 16, right: 16, top: 12, bottom: 14 })
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            if !title.is_empty() {
                card_header_ui(ui, title, actions);
            }
            add(ui)
        })
        .inner
}

/// The title with the actions at its right; below it where they have no room, as told by their width in the last frame.
fn card_header_ui(ui: &mut Ui, title: &str, actions: impl FnOnce(&mut Ui)) {
    let heading = RichText::new(title).text_style(theme::title_style());
    let id = ui.make_persistent_id(("actions of", title));
    let known = ui.data(|data| data.get_temp::<f32>(id)).unwrap_or_default();
    let font = theme::title_style().resolve(ui.style());
    let title_width = ui.painter().layout_no_wrap(title.to_string(), font, Color32::WHITE).size().x;
    let room = (ui.available_width() - title_width - 2.0 * theme::GAP).max(0.0);
    if known > room {
        heading_ui(ui, heading);
        ui.horizontal_wrapped(actions);
    } else {
        let row = vec2(ui.available_width(), 24.0);
        let width = ui.allocate_ui_with_layout(row, Layout::left_to_right(Align::Center), |ui| {
            ui.add(Label::new(heading).extend()).widget_info(|| WidgetInfo::labeled(Role::Heading, true, title));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let right = ui.max_rect().right();
                actions(ui);
                right - ui.min_rect().left()
            })
            .inner
        });
        if (width.inner - known).abs() > 0.5 {
            ui.data_mut(|data| data.insert_temp(id, width.inner));
            if width.inner > room {
                ui.ctx().request_discard("the actions of a card need a line of their own");
            }
        }
    }
    ui.add_space(2.0);
}

/// Two columns, the left one taking `left_part` of the width; one below the other in a narrow window.
pub fn two_columns(ui: &mut Ui, left_part: f32, left: impl FnOnce(&mut Ui), right: impl FnOnce(&mut Ui)) {
    let width = ui.available_width();
    if width < 720.0 {
        left(ui);
        ui.add_space(GAP - ui.spacing().item_spacing.y);
        right(ui);
        return;
    }
    let left_width = ((width - GAP) * left_part).round();
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = GAP;
        let column = |ui: &mut Ui, width: f32, add: Box<dyn FnOnce(&mut Ui) + '_>| {
            ui.allocate_ui_with_layout(vec2(width, 0.0), Layout::top_down(Align::Min), |ui| {
                ui.set_width(width);
                ui.spacing_mut().item_spacing.x = 8.0;
                add(ui);
            });
        };
        column(ui, left_width, Box::new(left));
        column(ui, width - GAP - left_width, Box::new(right));
    });
}

/// Distance between two cards, one below the other.
pub fn card_gap(ui: &mut Ui) {
    ui.add_space(GAP - ui.spacing().item_spacing.y);
}

/// Lines of a label at the left and its value at the right edge, with hairlines between them. Labels that the glossary knows are
/// explained.
pub fn key_value_grid<K: AsRef<str>, V: AsRef<str>>(ui: &mut Ui, rows: &[(K, V)]) {
    let p = theme::palette(ui);
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        for (idx, (key, value)) in rows.iter().enumerate() {
            if idx > 0 {
                let y = ui.cursor().top();
                let x = ui.max_rect().x_range();
                ui.painter().hline(x, y, Stroke::new(1.0, p.line));
            }
            ui.allocate_ui_with_layout(vec2(ui.available_width(), 30.0), Layout::left_to_right(Align::Center), |ui| {
                let name = term(ui, key.as_ref());
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let value = Label::new(RichText::new(value.as_ref()).font(theme::strong_font())).truncate();
                    ui.add(value).labelled_by(name.id);
                });
            });
        }
    });
}

/// A word in a tinted box.
pub fn badge(ui: &mut Ui, text: &str, tone: Tone) -> Response {
    let color = tone.color(ui);
    let font = egui::FontId::new(12.0, theme::medium());
    let margin = Margin::symmetric(8, 3);
    make_room(ui, text, &font, margin.sum().x);
    let response = Frame::new()
        .fill(tone.ground(ui))
        .corner_radius(CornerRadius::same(4))
        .inner_margin(margin)
        .show(ui, |ui| ui.add(Label::new(RichText::new(text).font(font).color(color)).extend()))
        .inner;
    match glossary::explain(text) {
        Some(explanation) => response.on_hover_text(explanation),
        None => response,
    }
}

/// A label that the glossary explains: dotted underline and tooltip. An unknown term is a plain label.
pub fn term(ui: &mut Ui, text: &str) -> Response {
    term_rich(ui, text, RichText::new(text).color(theme::palette(ui).text_secondary))
}

/// A label in any style, explained as the term `key`.
pub fn term_rich(ui: &mut Ui, key: &str, text: RichText) -> Response {
    let Some(explanation) = glossary::explain(key) else { return ui.label(text) };
    let response = ui.add(Label::new(text).sense(Sense::hover()));
    let rect = response.rect;
    let path = [rect.left_bottom() - vec2(0.0, 0.5), rect.right_bottom() - vec2(0.0, 0.5)];
    ui.painter().extend(Shape::dotted_line(&path, theme::muted(ui).gamma_multiply(0.8), 3.0, 0.6));
    response.on_hover_text(explanation)
}

/// What a page shows while it has nothing to show: what is missing and what to do next.
pub fn empty_state(ui: &mut Ui, icon: Icon, title: &str, text: &str, actions: impl FnOnce(&mut Ui)) {
    let p = theme::palette(ui);
    card(ui, "", |ui| {
        ui.add_space(40.0);
        ui.vertical_centered(|ui| {
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(44.0), Sense::hover());
            icons::paint(ui.painter(), rect, icon, p.accent);
            ui.add_space(4.0);
            big_heading_ui(ui, title);
            ui.scope(|ui| {
                ui.set_max_width(520.0);
                ui.label(RichText::new(text).color(p.text_secondary));
            });
            ui.add_space(8.0);
            actions(ui);
        });
        ui.add_space(40.0);
    });
}

/// What went wrong, what to do about it, and a button that copies both.
pub fn error_banner(ui: &mut Ui, error: &Error, commands: &mut Vec<Command>) {
    let hint = error.hint();
    toned_box(ui, Tone::Bad, |ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            copy_button(ui, "error", || format!("{error}\nhint: {hint}"), commands);
            ui.with_layout(Layout::top_down(Align::Min), |ui| {
                ui.spacing_mut().item_spacing.y = 2.0;
                ui.add(
                    Label::new(RichText::new(sentence(&error.to_string())).font(theme::strong_font())).wrap().selectable(true),
                );
                ui.add(Label::new(RichText::new(sentence(&hint)).color(theme::palette(ui).text_secondary)).wrap());
            });
        });
    });
}

/// A text in a tinted box, with the tone's mark.
pub fn notice(ui: &mut Ui, tone: Tone, text: &str) {
    toned_box(ui, tone, |ui| {
        ui.add(Label::new(text).wrap());
    });
}

/// A tinted box with the tone's mark at the left.
pub fn toned_box(ui: &mut Ui, tone: Tone, add: impl FnOnce(&mut Ui)) {
    let color = tone.color(ui);
    Frame::new()
        .fill(tone.ground(ui))
        .stroke(Stroke::new(1.0, color.gamma_multiply(0.35)))
        .corner_radius(CornerRadius::same(theme::CONTROL_RADIUS))
        .inner_margin(Margin::symmetric(12, 8))
        .show(ui, |ui| {
            ui.spacing_mut().interact_size.y = 20.0;
            ui.horizontal(|ui| {
                ui.set_width(ui.available_width());
                let (rect, _) = ui.allocate_exact_size(Vec2::splat(18.0), Sense::hover());
                icons::paint(ui.painter(), rect, tone.icon(), color);
                add(ui);
            });
        });
}

/// A choice between a few values, drawn as joined buttons. True when it changed.
pub fn segmented<T: PartialEq + Copy>(ui: &mut Ui, value: &mut T, choices: &[(T, &str)]) -> bool {
    let p = theme::palette(ui);
    let before = *value;
    Frame::new()
        .fill(p.well)
        .stroke(Stroke::new(1.0, p.line))
        .corner_radius(CornerRadius::same(theme::CONTROL_RADIUS))
        .inner_margin(Margin::same(2))
        .show(ui, |ui| {
            ui.spacing_mut().interact_size.y = 24.0;
            let mut buttons = |ui: &mut Ui| {
                ui.spacing_mut().item_spacing = vec2(2.0, 2.0);
                ui.spacing_mut().button_padding = vec2(10.0, 3.0);
                // In a layout that grows from the right the last choice comes first.
                let n = choices.len();
                let is_reversed = ui.layout().prefer_right_to_left();
                for idx in 0..n {
                    let (choice, label) = &choices[if is_reversed { n - 1 - idx } else { idx }];
                    let is_chosen = *value == *choice;
                    let button = Button::selectable(is_chosen, *label).wrap_mode(TextWrapMode::Extend);
                    if ui.add(button.corner_radius(CornerRadius::same(4))).clicked() {
                        *value = *choice;
                    }
                }
            };
            // Many choices take several lines where the page is narrow.
            let font = egui::TextStyle::Button.resolve(ui.style());
            let width_of = |label: &str| ui.painter().layout_no_wrap(label.into(), font.clone(), p.text).size().x + 22.0;
            if choices.iter().map(|choice| width_of(choice.1)).sum::<f32>() > ui.max_rect().width() {
                ui.horizontal_wrapped(buttons);
            } else {
                ui.horizontal(&mut buttons);
            }
        });
    *value != before
}

/// A text field for filters; `label` is its accessible name.
pub fn search_field(ui: &mut Ui, label: &str, text: &mut String) -> Response {
    let response =
        ui.add(egui::TextEdit::singleline(text).hint_text(label).desired_width(260.0).margin(Margin::symmetric(10, 6)));
    response.widget_info(|| {
        let mut info = WidgetInfo::text_edit(true, "", text.as_str(), label);
        info.label = Some(label.to_string());
        info
    });
    response
}
