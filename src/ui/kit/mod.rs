//! What all pages are made of: colours, type, widgets, tables, tooltips; nothing here knows a page.

pub mod bars;
pub(super) mod buttons;
pub(super) mod drop_down;
pub(super) mod figures;
pub(super) mod focus_order;
pub mod glossary;
pub mod icons;
pub(super) mod loss_view;
pub(super) mod memo;
pub(super) mod palette;
pub(super) mod sideways;
pub(super) mod sorting;
pub mod theme;
pub(super) mod tiles;
pub mod toasts;
pub mod widgets;
pub(super) mod words;
