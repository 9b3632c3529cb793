//! Shipping it: what was measured, as plots and files.
//!
//! ```text
//! chart      a plot as data: drawn by the window, written as SVG
//! ```

pub mod chart;

pub use chart::{Axis, Bars, Chart, ChartKind, Scale, Scatter, chart};
