//! Columns of text, and text that a terminal shows as it is.

use crate::telemetry;

/// How much of a text a cell shows, in characters.
const CELL_CHARACTERS_MAX: usize = 200;

/// Rows under a header, each column as wide as its widest cell. Rows can be taken out in portions; then a column never gets
/// narrower than it was.
pub(in crate::cli) struct Table {
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(in crate::cli) fn new(header: &[&str]) -> Self {
        let header: Vec<_> = header.iter().map(|&title| title.to_owned()).collect();
        Self { widths: vec![0; header.len()], rows: vec![header] }
    }

    /// Adds a row. Cells are shown without their control characters.
    pub(in crate::cli) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell, CELL_CHARACTERS_MAX)).collect());
    }

    /// The text of the rows that were added since this was last called; the first time also of the header.
    pub(super) fn take_text(&mut self) -> String {
        let rows = std::mem::take(&mut self.rows);
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &[String]) -> String {
        let cells = row.iter().zip(&self.widths).map(|(cell, &width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    }
}

/// The text in one line, without anything that a terminal would obey. What has more than `characters_max` is cut.
pub(super) fn one_line(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}… ({} bytes)", telemetry::escaped(&text[..end]), text.len()),
        None => telemetry::escaped(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row(["orders", "1"].map(str::to_owned));
        table.row(["a", "22"].map(str::to_owned));
        assert_eq!(table.take_text(), "NAME    N\norders  1\na       22\n");
        table.row(["b", "3"].map(str::to_owned));
        assert_eq!(table.take_text(), "b       3\n");
    }

    #[test]
    fn a_cell_has_no_control_characters() {
        let mut table = Table::new(&["TEXT"]);
        table.row(["a\x1b[31m\nb\u{202e}c é".to_owned()]);
        assert_eq!(table.take_text(), "TEXT\na\\u{1b}[31m\\nb\\u{202e}c é\n");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "é".repeat(201);
        assert_eq!(one_line(&text, 200), format!("{}… (402 bytes)", "é".repeat(200)));
        assert_eq!(one_line(&text[2..], 200), "é".repeat(200));
    }
}
