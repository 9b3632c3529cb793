//! Standard output: JSON or text; a reader that has gone is no error.

use std::io::Write as _;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::path_text::{one_line, printable};

/// Prints bytes. A closed pipe (`planish … | head`) is no error.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", std::path::Path::new(crate::error::STANDARD_OUTPUT))(error))
        }
        _ => Ok(()),
    }
}

/// Prints text and a line end.
pub(super) fn print_text(text: &str) -> Result<()> {
    // Names and texts of files are in it: nothing of them may move the cursor or colour the screen.
    print_bytes(format!("{}\n", printable(text.trim_end())).as_bytes())
}

/// Prints one JSON document.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Internal { message: format!("JSON: {error}") })?;
    print_bytes(format!("{text}\n").as_bytes())
}

/// Rows of text as aligned columns; the columns in `right` are flush right. If standard output is a terminal too narrow for
/// them, the columns that do not fit follow below, each part with the first column in front.
pub(super) fn columns_text(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    columns_within(header, rows, right, terminal_columns(std::io::stdout()))
}

/// The same within a width of `room` characters; `None` puts each row on one line.
fn columns_within(header: &[&str], rows: &[Vec<String>], right: &[usize], room: Option<usize>) -> String {
    // A line end in a name must not look like a row.
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell).into_owned()).collect()).collect();
    // The last cell of a row that ends early, such as a failure, runs on to the right.
    let is_open = |row: &[String], column: usize| row.len() < header.len() && column + 1 == row.len();
    let width_of = |column: usize| {
        let cells = rows.iter().filter(|row| !is_open(row, column)).filter_map(|row| row.get(column));
        let title = header.get(column).map_or(0, |title| title.chars().count());
        cells.map(|cell| cell.chars().count()).chain([title]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width_of).collect();
    let titles: Vec<String> = header.iter().map(ToString::to_string).collect();
    let parts = parts(&widths, room).into_iter().filter_map(|columns| {
        let line = |cells: &[String]| {
            let mut text = String::new();
            for &column in &columns {
                let Some(cell) = cells.get(column) else { continue };
                let width = widths.get(column).copied().unwrap_or(0);
                let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
                let is_right = right.contains(&column) && !is_open(cells, column);
                text.push_str(&if is_right { format!("{padding}{cell}  ") } else { format!("{cell}{padding}  ") });
            }
            text.trim_end().to_string()
        };
        // A row that has ended is not repeated.
        let is_first = columns.get(1).is_none_or(|&column| column == 1);
        let goes_on = |row: &&Vec<String>| is_first || columns.get(1).is_some_and(|&column| row.len() > column);
        let lines: Vec<String> = rows.iter().filter(goes_on).map(|row| line(row)).filter(|line| !line.is_empty()).collect();
        let is_told = is_first || !lines.is_empty();
        is_told.then(|| std::iter::once(line(&titles)).chain(lines).collect::<Vec<_>>().join("\n"))
    });
    parts.collect::<Vec<_>>().join("\n\n")
}

/// Column indices of each part of the table: all in one part, or as many as fit into `room`; each part starts with column 0.
fn parts(widths: &[usize], room: Option<usize>) -> Vec<Vec<usize>> {
    let Some(room) = room else { return vec![(0..widths.len()).collect()] };
    let (mut parts, mut used) = (vec![vec![0]], widths.first().copied().unwrap_or(0));
    for (column, width) in widths.iter().enumerate().skip(1) {
        if used + 2 + width > room && parts.last().is_some_and(|part| part.len() > 1) {
            parts.push(vec![0]);
            used = widths.first().copied().unwrap_or(0);
        }
        used += 2 + width;
        if let Some(part) = parts.last_mut() {
            part.push(column);
        }
    }
    parts
}

/// Width of a terminal in columns; `None` if the stream is not a terminal, or its width is unknown, as on Windows.
pub(super) fn terminal_columns(#[cfg_attr(not(unix), allow(unused))] stream: impl Stream) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    #[cfg(unix)]
    {
        let size = rustix::termios::tcgetwinsize(stream).ok()?;
        Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
    }
    #[cfg(not(unix))]
    None
}

/// Standard output or standard error.
#[cfg(unix)]
pub(super) trait Stream: std::io::IsTerminal + std::os::fd::AsFd {}
#[cfg(unix)]
impl<T: std::io::IsTerminal + std::os::fd::AsFd> Stream for T {}
/// Standard output or standard error.
#[cfg(not(unix))]
pub(super) trait Stream: std::io::IsTerminal {}
#[cfg(not(unix))]
impl<T: std::io::IsTerminal> Stream for T {}

/// `label  value` lines with the values aligned.
pub(super) fn facts_text(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    facts.iter().map(|(label, value)| format!("{:width$}  {}", one_line(label), one_line(value))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_files_stay_in_their_place() {
        let rows = [vec!["a\nb".into()], vec!["\u{1b}[31mred\u{202e}".into()]];
        assert_eq!(columns_text(&["name"], &rows, &[]), "name\na\\nb\n\\u{1b}[31mred\\u{202e}");
        assert_eq!(facts_text(&[("name", "a\nsize  forged".into())]), "name  a\\nsize  forged");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["Q8_0".into(), "144.8 MB".into()], vec!["Q4_K_M".into(), "5 MB".into()]];
        assert_eq!(columns_text(&["level", "size"], &rows, &[1]), "level       size\nQ8_0    144.8 MB\nQ4_K_M      5 MB");
    }

    #[test]
    fn a_table_that_is_too_wide_goes_on_below() {
        let rows = [vec!["Q8_0".into(), "144.8 MB".into(), "yes".into()], vec!["Q4_K_M".into(), "5 MB".into(), "no".into()]];
        let check = |room, expected: &str| assert_eq!(columns_within(&["level", "size", "fits"], &rows, &[1], room), expected);
        let whole = "level       size  fits\nQ8_0    144.8 MB  yes\nQ4_K_M      5 MB  no";
        check(None, whole);
        check(Some(22), whole);
        let parts = "level       size\nQ8_0    144.8 MB\nQ4_K_M      5 MB\n\nlevel   fits\nQ8_0    yes\nQ4_K_M  no";
        check(Some(21), parts);
        check(Some(1), parts);
    }

    #[test]
    fn a_failure_makes_no_column_wide() {
        let failed = "failed: a long reason that nobody can shorten";
        let rows = [vec!["a".into(), "1 MB".into(), "2".into()], vec!["b".into(), failed.into()]];
        let check = |room, expected: String| assert_eq!(columns_within(&["file", "size", "n"], &rows, &[1, 2], room), expected);
        check(None, format!("file  size  n\na     1 MB  2\nb     {failed}"));
        check(Some(10), format!("file  size\na     1 MB\nb     {failed}\n\nfile  n\na     2"));
        let alone = [vec!["b".into(), failed.into()]];
        assert_eq!(columns_within(&["file", "size", "n"], &alone, &[], Some(10)), format!("file  size\nb     {failed}"));
    }
}
