//! Shipping it: what was measured, as plots and files.
//!
//! ```text
//! chart      a plot as data: drawn by the window, written as SVG
//! look       colours and escaping that the rest share
//! svg        a plot as a picture
//! shell      commands for a terminal
//! png        an SVG picture in pixels
//! table      the rows for other programs
//! report     everything in one HTML file
//! stored     a comparison from the history
//! export     any of these as a file
//! ```

pub mod chart;
mod export;
mod look;
mod png;
mod report;
mod shell;
mod stored;
mod svg;
mod table;
#[cfg(test)]
pub(crate) mod test_rows;

pub use chart::{Axis, Bars, Chart, ChartKind, Mark, Scale, Scatter, bytes_unit, chart, own_losses};
pub use export::{Export, ExportInput, ExportRequest, export, export_bytes};
pub use look::{LevelLook, class_rgb, escaped, legend_of, shortened};
pub use png::png_from_svg;
pub use report::{ReportInput, report_html};
pub use shell::{llama_cli_command, mlx_command, ollama_command};
pub use stored::{Stored, kept_rows, stored_comparison, stored_gates};
pub use svg::{Heading, SvgStyle, chart_svg, has_measurement};
pub use table::{rows_to_csv, rows_to_json, rows_to_tsv};
