//! Colours, type and spacing: warm copper on cool steel, in a light and a dark variant.
//!
//! Sizes are multiples of 4 points. Every text colour has a contrast of at least 4.5:1 on the surfaces it is used on and every
//! mark at least 3:1 (WCAG 2.2, 1.4.3 and 1.4.11); the tests below compute it.

use std::sync::Arc;

use eframe::egui::{
    self, Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Stroke, TextStyle, Ui, Vec2,
};

use crate::model::PrecisionClass;
use crate::state::Theme;

/// The smallest distance; all others are multiples.
pub const UNIT: f32 = 4.0;
/// Distance between cards and between a card's border and its contents.
pub const GAP: f32 = 16.0;
/// Corner radius of cards.
pub const CARD_RADIUS: u8 = 8;
/// Corner radius of buttons, fields and badges.
pub const CONTROL_RADIUS: u8 = 6;
/// Height of a table row.
pub const ROW_HEIGHT: f32 = 28.0;

/// The colours of one variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Palette {
    /// Behind everything.
    pub page: Color32,
    /// The rail and the status bar.
    pub rail: Color32,
    /// Cards, menus and tooltips.
    pub card: Color32,
    /// Text fields, the empty part of bars, code.
    pub well: Color32,
    /// A table's odd rows.
    pub stripe: Color32,
    /// Borders and separators.
    pub line: Color32,
    /// Borders of controls.
    pub control_line: Color32,
    pub control: Color32,
    pub control_hovered: Color32,
    pub control_active: Color32,
    pub text: Color32,
    /// Explanations.
    pub text_secondary: Color32,
    /// Labels beside values, units, hints.
    pub muted: Color32,
    /// Copper: the brand, the taken path, the chosen thing.
    pub accent: Color32,
    /// Behind the text of the primary button.
    pub accent_fill: Color32,
    pub on_accent: Color32,
    /// Behind selected things.
    pub accent_soft: Color32,
    pub measured: Color32,
    pub predicted: Color32,
    pub assumed: Color32,
    pub good: Color32,
    pub warn: Color32,
    pub bad: Color32,
}

/// The dark variant.
pub const DARK: Palette = Palette {
    page: Color32::from_rgb(0x14, 0x17, 0x1B),
    rail: Color32::from_rgb(0x0F, 0x12, 0x15),
    card: Color32::from_rgb(0x1B, 0x1F, 0x25),
    well: Color32::from_rgb(0x10, 0x13, 0x17),
    stripe: Color32::from_rgb(0x1F, 0x24, 0x2B),
    line: Color32::from_rgb(0x2B, 0x31, 0x3A),
    control_line: Color32::from_rgb(0x3B, 0x43, 0x4E),
    control: Color32::from_rgb(0x25, 0x2B, 0x33),
    control_hovered: Color32::from_rgb(0x2E, 0x35, 0x3F),
    control_active: Color32::from_rgb(0x38, 0x41, 0x4C),
    text: Color32::from_rgb(0xE8, 0xEB, 0xEF),
    text_secondary: Color32::from_rgb(0xB4, 0xBC, 0xC7),
    muted: Color32::from_rgb(0x93, 0x9D, 0xAA),
    accent: Color32::from_rgb(0xE3, 0x96, 0x64),
    accent_fill: Color32::from_rgb(0xE3, 0x96, 0x64),
    on_accent: Color32::from_rgb(0x1E, 0x10, 0x07),
    accent_soft: Color32::from_rgb(0x3A, 0x2A, 0x20),
    measured: Color32::from_rgb(0x4F, 0xBF, 0xAF),
    predicted: Color32::from_rgb(0x84, 0xAE, 0xF2),
    assumed: Color32::from_rgb(0xBB, 0xA3, 0xE0),
    good: Color32::from_rgb(0x6C, 0xC4, 0x85),
    warn: Color32::from_rgb(0xE5, 0xB2, 0x4F),
    bad: Color32::from_rgb(0xF2, 0x80, 0x75),
};

/// The light variant.
pub const LIGHT: Palette = Palette {
    page: Color32::from_rgb(0xF3, 0xF5, 0xF7),
    rail: Color32::from_rgb(0xE8, 0xEB, 0xEF),
    card: Color32::from_rgb(0xFF, 0xFF, 0xFF),
    well: Color32::from_rgb(0xF0, 0xF2, 0xF5),
    stripe: Color32::from_rgb(0xF7, 0xF8, 0xFA),
    line: Color32::from_rgb(0xDC, 0xE1, 0xE7),
    control_line: Color32::from_rgb(0xC3, 0xCA, 0xD3),
    control: Color32::from_rgb(0xFF, 0xFF, 0xFF),
    control_hovered: Color32::from_rgb(0xF0, 0xF2, 0xF5),
    control_active: Color32::from_rgb(0xE2, 0xE6, 0xEB),
    text: Color32::from_rgb(0x1A, 0x20, 0x27),
    text_secondary: Color32::from_rgb(0x44, 0x4E, 0x5A),
    muted: Color32::from_rgb(0x5A, 0x65, 0x72),
    accent: Color32::from_rgb(0xA3, 0x4F, 0x1C),
    accent_fill: Color32::from_rgb(0xA9, 0x54, 0x20),
    on_accent: Color32::from_rgb(0xFF, 0xFF, 0xFF),
    accent_soft: Color32::from_rgb(0xFB, 0xEB, 0xE0),
    measured: Color32::from_rgb(0x0B, 0x6E, 0x63),
    predicted: Color32::from_rgb(0x2B, 0x5C, 0xBE),
    assumed: Color32::from_rgb(0x6B, 0x4C, 0xAE),
    good: Color32::from_rgb(0x1B, 0x76, 0x3D),
    warn: Color32::from_rgb(0x8A, 0x59, 0x00),
    bad: Color32::from_rgb(0xB9, 0x2C, 0x24),
};

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
    match class {
        PrecisionClass::Full => Color32::from_rgb(0x64, 0x80, 0x9E),
        PrecisionClass::Medium => Color32::from_rgb(0x2E, 0x94, 0x84),
        PrecisionClass::Low => Color32::from_rgb(0xB0, 0x79, 0x16),
        PrecisionClass::UltraLow => Color32::from_rgb(0xCF, 0x54, 0x44),
    }
}

/// Where a number comes from. Each kind has its own colour, mark and word, so that none of the three is needed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Read from a file or told by the system: needs no mark.
    Fact,
    /// Measured on this machine.
    Measured,
    /// Computed by a model of the machine.
    Predicted,
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
            Self::Assumed => "assumed",
        }
    }

    /// The colour of the mark and its word.
    #[must_use]
    pub fn color(self, ui: &Ui) -> Color32 {
        match self {
            Self::Fact => muted(ui),
            Self::Measured => measured(ui),
            Self::Predicted => predicted(ui),
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

/// IBM Plex in three weights of one variable file, egui's own fonts behind it for symbols.
fn fonts() -> FontDefinitions {
    static SANS: &[u8] = include_bytes!("../../assets/fonts/IBMPlexSans-Variable.ttf");
    static MONO: &[u8] = include_bytes!("../../assets/fonts/IBMPlexMono-Regular.ttf");
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast of two opaque colours, 1 to 21. Source: WCAG 2.2, "contrast ratio" and "relative luminance".
    fn contrast(one: Color32, other: Color32) -> f64 {
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
            for ink in [p.accent, p.text] {
                assert!(contrast(ink, p.accent_soft) >= 4.5, "{variant} selection {:.2}", contrast(ink, p.accent_soft));
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
        let _ = ctx.run_ui(egui::RawInput::default(), |ui| {
            for family in [FontFamily::Proportional, medium(), semibold(), FontFamily::Monospace] {
                let font = FontId::new(14.0, family.clone());
                let widths: Vec<f32> = ('0'..='9').map(|digit| ui.fonts_mut(|fonts| fonts.glyph_width(&font, digit))).collect();
                assert!(widths.iter().all(|width| (width - widths[0]).abs() < 0.01), "{family:?} {widths:?}");
            }
        });
    }
}
