//! Short messages about what was done, which go away by themselves: "Copied", "Saved · Open".

use eframe::egui::{self, Align2, Area, Context, CornerRadius, Frame, Id, Label, Margin, Order, RichText, Stroke, Ui, vec2};

use super::icons::{self, Icon};
use super::{theme, widgets};
use crate::state::Command;

/// How long a message stays.
const SECS: f64 = 4.0;
/// How long one stays that offers something to do.
const SECS_WITH_ACTION: f64 = 8.0;
/// How long one fades at its end.
const FADE_SECS: f64 = 0.4;
/// Older ones go when there are more.
const MAX_TOASTS: usize = 3;

/// A message, and what can be done about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Toast {
    /// What was done, in a few words.
    pub text: String,
    /// Buttons: the text of each, and the command that it sends.
    pub actions: Vec<(&'static str, Command)>,
}

impl Toast {
    /// A message alone.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), actions: Vec::new() }
    }

    /// The same with a button.
    #[must_use]
    pub fn with_action(mut self, text: &'static str, command: Command) -> Self {
        self.actions.push((text, command));
        self
    }
}

/// A message on the screen.
#[derive(Debug, Clone)]
struct Shown {
    toast: Toast,
    /// When it goes, in seconds of the window's clock.
    until: f64,
}

fn id() -> Id {
    Id::unique("toasts of the window")
}

/// Puts a message on the screen; one that is there already stays longer instead.
pub fn push(ctx: &Context, toast: Toast) {
    let now = ctx.input(|input| input.time);
    let until = now + if toast.actions.is_empty() { SECS } else { SECS_WITH_ACTION };
    ctx.data_mut(|data| {
        let shown = data.get_temp_mut_or_default::<Vec<Shown>>(id());
        shown.retain(|shown| shown.toast != toast);
        shown.push(Shown { toast, until });
        let n_old = shown.len().saturating_sub(MAX_TOASTS);
        shown.drain(..n_old);
    });
    ctx.request_repaint();
}

/// Draws the messages above `bottom`, in the corner where pages have least, and takes off those whose time is over.
pub fn toasts_ui(ui: &Ui, bottom: f32, commands: &mut Vec<Command>) {
    let ctx = ui.ctx();
    let Some(shown) = ctx.data(|data| data.get_temp::<Vec<Shown>>(id())).filter(|shown| !shown.is_empty()) else { return };
    let now = ctx.input(|input| input.time);
    let offset = vec2(-16.0, bottom - ctx.content_rect().bottom() - 12.0);
    let response = Area::new(id()).order(Order::Foreground).anchor(Align2::RIGHT_BOTTOM, offset).show(ctx, |ui| {
        ui.spacing_mut().item_spacing.y = 8.0;
        let mut clicked = None;
        for (idx, shown) in shown.iter().enumerate() {
            let left = shown.until - now;
            #[allow(clippy::cast_possible_truncation, reason = "between 0 and 1")]
            ui.set_opacity((left / FADE_SECS).clamp(0.0, 1.0) as f32);
            if toast_ui(ui, &shown.toast, commands) {
                clicked = Some(idx);
            }
        }
        clicked
    });
    // Whoever points at a message is reading it.
    let is_read = response.response.contains_pointer();
    let mut left: Vec<Shown> = shown;
    if let Some(idx) = response.inner {
        left.remove(idx);
    }
    for shown in &mut left {
        if is_read {
            shown.until = shown.until.max(now + 1.0);
        }
    }
    left.retain(|shown| shown.until > now);
    if let Some(next) = left.iter().map(|shown| shown.until - now).reduce(f64::min) {
        // Nothing moves until the first one fades: an idle window costs nothing.
        let wait = (next - FADE_SECS).max(0.0);
        ctx.request_repaint_after(std::time::Duration::from_secs_f64(wait));
    }
    ctx.data_mut(|data| data.insert_temp(id(), left));
}

/// One message; true when a button of it was clicked, after which it goes.
fn toast_ui(ui: &mut Ui, toast: &Toast, commands: &mut Vec<Command>) -> bool {
    let p = theme::palette(ui);
    let frame = Frame::new()
        .fill(p.card)
        .stroke(Stroke::new(1.0, p.control_line))
        .corner_radius(CornerRadius::same(theme::CARD_RADIUS))
        .inner_margin(Margin::symmetric(14, 9))
        .shadow(ui.visuals().popup_shadow);
    frame
        .show(ui, |ui| {
            ui.horizontal(|ui| {
                let (rect, _) = ui.allocate_exact_size(vec2(16.0, 16.0), egui::Sense::hover());
                icons::paint(ui.painter(), rect, Icon::Check, p.good);
                let label = ui.add(Label::new(RichText::new(&toast.text).font(theme::strong_font())).extend());
                // Screen readers say it without being asked.
                ui.ctx().accesskit_node_builder(label.id, |node| node.set_live(egui::accesskit::Live::Polite));
                let mut is_clicked = false;
                for (text, command) in &toast.actions {
                    if widgets::small_button(ui, text, &format!("{text}: {}", toast.text)).clicked() {
                        commands.push(command.clone());
                        is_clicked = true;
                    }
                }
                is_clicked
            })
            .inner
        })
        .inner
}
