//! The colours of the light and the dark variant. `theme` says where they are used and tests their contrast.

use eframe::egui::Color32;

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
    /// Behind badges and notices without a tone.
    pub neutral_soft: Color32,
    pub good_soft: Color32,
    pub warn_soft: Color32,
    pub bad_soft: Color32,
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
    neutral_soft: Color32::from_rgb(0x26, 0x2D, 0x36),
    good_soft: Color32::from_rgb(0x1C, 0x33, 0x25),
    warn_soft: Color32::from_rgb(0x36, 0x2D, 0x18),
    bad_soft: Color32::from_rgb(0x3B, 0x22, 0x22),
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
    neutral_soft: Color32::from_rgb(0xE9, 0xED, 0xF2),
    good_soft: Color32::from_rgb(0xE0, 0xF3, 0xE6),
    warn_soft: Color32::from_rgb(0xFD, 0xF1, 0xD8),
    bad_soft: Color32::from_rgb(0xFC, 0xE7, 0xE4),
    measured: Color32::from_rgb(0x0B, 0x6E, 0x63),
    predicted: Color32::from_rgb(0x2B, 0x5C, 0xBE),
    assumed: Color32::from_rgb(0x6B, 0x4C, 0xAE),
    good: Color32::from_rgb(0x1B, 0x76, 0x3D),
    warn: Color32::from_rgb(0x8A, 0x59, 0x00),
    bad: Color32::from_rgb(0xB9, 0x2C, 0x24),
};
