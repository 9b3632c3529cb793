//! Standard output: JSON or text, and nothing lost when the reader has gone.

use std::io::Write as _;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::path_text::{one_line, printable};

/// Prints bytes. A closed pipe (`planish … | head`) is no error.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", std::path::Path::new("standard output"))(error))
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

/// Rows of text as aligned columns; the columns in `right` are flush right.
pub(super) fn columns_text(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    // A line end in a name must not look like a row.
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell).into_owned()).collect()).collect();
    let width_of = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header.get(column).map_or(0, |title| title.chars().count())]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width_of).collect();
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let padding = " ".repeat(widths.get(column).copied().unwrap_or(0).saturating_sub(cell.chars().count()));
            if right.contains(&column) {
                text.push_str(&padding);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.push_str(&padding);
            }
            text.push_str("  ");
        }
        text.trim_end().to_string()
    };
    let titles: Vec<String> = header.iter().map(ToString::to_string).collect();
    std::iter::once(line(&titles)).chain(rows.iter().map(|row| line(row))).collect::<Vec<_>>().join("\n")
}

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
}
