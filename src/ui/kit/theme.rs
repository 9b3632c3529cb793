//! Colours, type and spacing: warm copper on cool steel, in a light and a dark variant.
//!
//! Most distances are multiples of 4 points. Every text colour has a contrast of at least 4.5:1 on the surfaces it is used on
//! and every mark at least 3:1 (WCAG 2.2, 1.4.3 and 1.4.11); the tests below compute it.

use std::sync::Arc;

use eframe::egui::{
    self, Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Stroke, TextStyle, Ui, Vec2,
};

pub use super::palette::{DARK, LIGHT, Palette};
use crate::deploy::class_rgb;
use crate::model::PrecisionClass;
use crate::state::Theme;

/// The distance that most others are multiples of, in points.
pub const UNIT: f32 = 4.0;
/// Distance between cards and between a card's border and its contents.
pub const GAP: f32 = 16.0;
/// Corner radius of cards.
pub const CARD_RADIUS: u8 = 8;
/// Corner radius of buttons, fields and badges.
pub const CONTROL_RADIUS: u8 = 6;
/// Height of a table row.
pub const ROW_HEIGHT: f32 = 28.0;

/// The colours of the variant in use.
#[must_use]
pub fn palette(ui: &Ui) -> &'static Palette {
    if ui.visuals().dark_mode { &DARK } else { &LIGHT }
}

/// Copper: the brand, the taken path, the chosen thing.
#[must_use]
pub fn accent(ui: &Ui) -> Color32 {
    palette(ui).accent
}

/// Colour of measured values; their mark is a filled disc.
#[must_use]
pub fn measured(ui: &Ui) -> Color32 {
    palette(ui).measured
}

/// Colour of predicted values; their mark is a ring.
#[must_use]
pub fn predicted(ui: &Ui) -> Color32 {
    palette(ui).predicted
}

/// Colour of assumed values; their mark is a hollow diamond.
#[must_use]
pub fn assumed(ui: &Ui) -> Color32 {
    palette(ui).assumed
}

/// Colour of what is as it should be.
#[must_use]
pub fn good(ui: &Ui) -> Color32 {
    palette(ui).good
}

/// Colour of what deserves attention.
#[must_use]
pub fn warn(ui: &Ui) -> Color32 {
    palette(ui).warn
}

/// Colour of what failed or does not fit.
#[must_use]
pub fn bad(ui: &Ui) -> Color32 {
    palette(ui).bad
}

/// Colour of labels beside values, units and hints.
#[must_use]
pub fn muted(ui: &Ui) -> Color32 {
    palette(ui).muted
}

/// Colour of a precision class in marks and bars, for both variants: from steel to glowing.
#[must_use]
pub const fn class_color(class: PrecisionClass) -> Color32 {
    let [red, green, blue] = class_rgb(class);
    Color32::from_rgb(red, green, blue)
}

/// Where a number comes from. Colour, mark and word tell the kinds apart, so that none of the three is needed alone; adjusted
/// values have the colour and mark of predicted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Read from a file or told by the system: needs no mark.
    Fact,
    /// Measured on this machine.
    Measured,
    /// Computed by a model of the machine.
    Predicted,
    /// Predicted, then corrected by what was measured on this machine.
    Adjusted,
    /// Taken from publications or defaults.
    Assumed,
}

impl ValueKind {
    /// The word beside the mark; empty for facts.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Fact => "",
            Self::Measured => "measured",
            Self::Predicted => "predicted",
            Self::Adjusted => "adjusted",
            Self::Assumed => "assumed",
        }
    }

    /// The colour of the mark and its word.
    #[must_use]
    pub fn color(self, ui: &Ui) -> Color32 {
        match self {
            Self::Fact => muted(ui),
            Self::Measured => measured(ui),
            Self::Predicted | Self::Adjusted => predicted(ui),
            Self::Assumed => assumed(ui),
        }
    }
}

/// Semi-bold at the size of body text, for values and column headings.
#[must_use]
pub fn strong_font() -> FontId {
    FontId::new(14.0, semibold())
}

/// Semi-bold headings of cards.
#[must_use]
pub fn title_style() -> TextStyle {
    TextStyle::Name("title".into())
}

/// Large numbers in tiles.
#[must_use]
pub fn number_style() -> TextStyle {
    TextStyle::Name("number".into())
}

/// The family of headings and emphasised values.
#[must_use]
pub fn semibold() -> FontFamily {
    FontFamily::Name("semibold".into())
}

/// The family of buttons and table headings.
#[must_use]
pub fn medium() -> FontFamily {
    FontFamily::Name("medium".into())
}

/// Gives a context the fonts and both variants of the style. Call it once, before the first frame.
pub fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts());
    ctx.set_style_of(egui::Theme::Dark, style(&DARK, egui::Style { visuals: egui::Visuals::dark(), ..egui::Style::default() }));
    ctx.set_style_of(
        egui::Theme::Light,
        style(&LIGHT, egui::Style { visuals: egui::Visuals::light(), ..egui::Style::default() }),
    );
}

/// Makes the context follow the user's choice of light or dark.
pub fn apply_choice(ctx: &egui::Context, choice: Theme) {
    ctx.set_theme(match choice {
        Theme::System => egui::ThemePreference::System,
        Theme::Light => egui::ThemePreference::Light,
        Theme::Dark => egui::ThemePreference::Dark,
    });
}

/// The icon of the window and of the program, 256 × 256; drawn by `assets/make_icon.py`.
#[must_use]
pub fn icon() -> egui::IconData {
    static PNG: &[u8] = include_bytes!("../../../assets/icon.png");
    // The file is part of the program and a test decodes it; a window without an icon is better than none.
    eframe::icon_data::from_png_bytes(PNG).unwrap_or_default()
}

/// IBM Plex in three weights of one variable file, egui's own fonts behind it for symbols.
fn fonts() -> FontDefinitions {
    static SANS: &[u8] = include_bytes!("../../../assets/fonts/IBMPlexSans-Variable.ttf");
    static MONO: &[u8] = include_bytes!("../../../assets/fonts/IBMPlexMono-Regular.ttf");
    let mut fonts = FontDefinitions::default();
    let fallbacks = fonts.families.get(&FontFamily::Proportional).cloned().unwrap_or_default();
    for (name, family, weight) in
        [("plex", FontFamily::Proportional, 400.0), ("plex-medium", medium(), 500.0), ("plex-semibold", semibold(), 600.0)]
    {
        let mut data = FontData::from_static(SANS);
        data.tweak.coords = egui::epaint::text::VariationCoords::new([(b"wght", weight), (b"wdth", 100.0)]);
        fonts.font_data.insert(name.into(), Arc::new(data));
        let chain = std::iter::once(name.to_string()).chain(fallbacks.iter().cloned()).collect();
        fonts.families.insert(family, chain);
    }
    fonts.font_data.insert("plex-mono".into(), Arc::new(FontData::from_static(MONO)));
    fonts.families.entry(FontFamily::Monospace).or_default().insert(0, "plex-mono".into());
    fonts
}

fn style(palette: &Palette, mut style: egui::Style) -> egui::Style {
    style.text_styles = [
        (TextStyle::Small, FontId::new(12.0, FontFamily::Proportional)),
        (TextStyle::Body, FontId::new(14.0, FontFamily::Proportional)),
        (TextStyle::Button, FontId::new(14.0, medium())),
        (TextStyle::Monospace, FontId::new(13.0, FontFamily::Monospace)),
        (TextStyle::Heading, FontId::new(22.0, semibold())),
        (title_style(), FontId::new(15.0, semibold())),
        (number_style(), FontId::new(24.0, semibold())),
    ]
    .into();
    style.animation_time = 0.1;
    // What is worth copying has a copy button; a text cursor over every label does not look like a program.
    style.interaction.selectable_labels = false;
    style.interaction.tooltip_delay = 0.3;
    spacing(&mut style.spacing);
    visuals(palette, &mut style.visuals);
    style
}

fn spacing(spacing: &mut egui::Spacing) {
    spacing.item_spacing = Vec2::new(8.0, 8.0);
    spacing.button_padding = Vec2::new(12.0, 6.0);
    spacing.interact_size = Vec2::new(40.0, 32.0);
    spacing.menu_margin = Margin::same(8);
    spacing.window_margin = Margin::same(16);
    spacing.indent = 16.0;
    spacing.icon_width = 18.0;
    spacing.icon_width_inner = 10.0;
    spacing.icon_spacing = 8.0;
    spacing.tooltip_width = 360.0;
    spacing.combo_width = 120.0;
    spacing.text_edit_width = 280.0;
    spacing.slider_width = 160.0;
    spacing.scroll = egui::style::ScrollStyle {
        bar_width: 8.0,
        floating_allocated_width: 8.0,
        dormant_background_opacity: 0.0,
        active_background_opacity: 0.0,
        dormant_handle_opacity: 0.45,
        active_handle_opacity: 0.7,
        ..egui::style::ScrollStyle::thin()
    };
    spacing.scroll.fade.strength = 0.0;
}

fn visuals(palette: &Palette, visuals: &mut egui::Visuals) {
    visuals.panel_fill = palette.page;
    visuals.window_fill = palette.card;
    visuals.window_stroke = Stroke::new(1.0, palette.line);
    visuals.window_corner_radius = CornerRadius::same(CARD_RADIUS);
    visuals.menu_corner_radius = CornerRadius::same(CARD_RADIUS);
    visuals.faint_bg_color = palette.stripe;
    visuals.extreme_bg_color = palette.well;
    visuals.text_edit_bg_color = Some(palette.well);
    visuals.code_bg_color = palette.well;
    visuals.hyperlink_color = palette.accent;
    visuals.warn_fg_color = palette.warn;
    visuals.error_fg_color = palette.bad;
    visuals.weak_text_color = Some(palette.muted);
    visuals.selection.bg_fill = palette.accent_soft;
    visuals.selection.stroke = Stroke::new(1.0, palette.accent);
    visuals.text_cursor.stroke = Stroke::new(2.0, palette.accent);
    visuals.slider_trailing_fill = true;
    visuals.handle_shape = egui::style::HandleShape::Circle;
    visuals.interact_cursor = Some(egui::CursorIcon::PointingHand);
    visuals.disabled_alpha = 0.55;
    let shadow_alpha = if visuals.dark_mode { 110 } else { 28 };
    visuals.popup_shadow = egui::Shadow { offset: [0, 4], blur: 16, spread: 0, color: Color32::from_black_alpha(shadow_alpha) };
    visuals.window_shadow = egui::Shadow { offset: [0, 8], blur: 24, spread: 0, color: Color32::from_black_alpha(shadow_alpha) };

    let radius = CornerRadius::same(CONTROL_RADIUS);
    let widgets = &mut visuals.widgets;
    for widget in
        [&mut widgets.noninteractive, &mut widgets.inactive, &mut widgets.hovered, &mut widgets.active, &mut widgets.open]
    {
        widget.corner_radius = radius;
        widget.expansion = 0.0;
        widget.fg_stroke = Stroke::new(1.0, palette.text);
    }
    widgets.noninteractive.bg_fill = palette.card;
    widgets.noninteractive.weak_bg_fill = palette.card;
    widgets.noninteractive.bg_stroke = Stroke::new(1.0, palette.line);
    widgets.inactive.bg_fill = palette.control_active;
    widgets.inactive.weak_bg_fill = palette.control;
    widgets.inactive.bg_stroke = Stroke::new(1.0, palette.control_line);
    widgets.hovered.bg_fill = palette.control_active;
    widgets.hovered.weak_bg_fill = palette.control_hovered;
    widgets.hovered.bg_stroke = Stroke::new(1.0, palette.muted);
    // `active` is also the look of the widget with the keyboard focus: its border must be seen.
    widgets.active.bg_fill = palette.control_active;
    widgets.active.weak_bg_fill = palette.control_active;
    widgets.active.bg_stroke = Stroke::new(2.0, palette.accent);
    widgets.open.bg_fill = palette.control_active;
    widgets.open.weak_bg_fill = palette.control_hovered;
    widgets.open.bg_stroke = Stroke::new(1.0, palette.muted);
}

/// Contrast of two opaque colours, 1 to 21. Source: WCAG 2.2, "contrast ratio" and "relative luminance".
#[cfg(test)]
#[must_use]
pub fn contrast(one: Color32, other: Color32) -> f64 {
    let luminance = |color: Color32| {
        let linear = |channel: u8| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(color.r()) + 0.7152 * linear(color.g()) + 0.0722 * linear(color.b())
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_be_read_on_every_surface() {
        for (variant, p) in [("dark", DARK), ("light", LIGHT)] {
            for (surface, ground) in
                [("page", p.page), ("rail", p.rail), ("card", p.card), ("well", p.well), ("stripe", p.stripe)]
            {
                for (name, ink) in [
                    ("text", p.text),
                    ("text_secondary", p.text_secondary),
                    ("muted", p.muted),
                    ("accent", p.accent),
                    ("measured", p.measured),
                    ("predicted", p.predicted),
                    ("assumed", p.assumed),
                    ("good", p.good),
                    ("warn", p.warn),
                    ("bad", p.bad),
                ] {
                    assert!(contrast(ink, ground) >= 4.5, "{variant}: {name} on {surface} is {:.2}", contrast(ink, ground));
                }
            }
            assert!(contrast(p.on_accent, p.accent_fill) >= 4.5, "{variant} primary button");
            for (soft, ink) in [
                (p.accent_soft, p.accent),
                (p.neutral_soft, p.text_secondary),
                (p.good_soft, p.good),
                (p.warn_soft, p.warn),
                (p.bad_soft, p.bad),
            ] {
                for ink in [ink, p.text, p.text_secondary] {
                    assert!(contrast(ink, soft) >= 4.5, "{variant}: {ink:?} on {soft:?} is {:.2}", contrast(ink, soft));
                }
            }
            for control in [p.control, p.control_hovered, p.control_active] {
                assert!(contrast(p.text, control) >= 4.5, "{variant} button");
            }
        }
    }

    #[test]
    fn class_marks_are_seen_in_both_variants() {
        for class in PrecisionClass::ALL {
            for ground in [DARK.card, DARK.page, DARK.well, LIGHT.card, LIGHT.page, LIGHT.well] {
                let ratio = contrast(class_color(class), ground);
                assert!(ratio >= 3.0, "{class:?} on {ground:?} is {ratio:.2}");
            }
        }
    }

    #[test]
    fn digits_are_as_wide_as_each_other() {
        let ctx = egui::Context::default();
        install(&ctx);
        let mut output = ctx.run_ui(egui::RawInput::default(), |ui| {
            for family in [FontFamily::Proportional, medium(), semibold(), FontFamily::Monospace] {
                let font = FontId::new(14.0, family.clone());
                let widths: Vec<f32> = ('0'..='9').map(|digit| ui.fonts_mut(|fonts| fonts.glyph_width(&font, digit))).collect();
                assert!(widths.iter().all(|width| (width - widths[0]).abs() < 0.01), "{family:?} {widths:?}");
            }
        });
        // Nobody draws: egui wants to know that the font texture was dropped on purpose.
        output.textures_delta.clear();
    }

    #[test]
    fn the_icon_is_square_and_has_corners_to_see_through() {
        let icon = icon();
        assert_eq!((icon.width, icon.height, icon.rgba.len()), (256, 256, 256 * 256 * 4));
        assert_eq!(icon.rgba[3], 0);
    }
}
