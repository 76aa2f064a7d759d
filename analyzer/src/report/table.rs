//! Text for a terminal: width, colours, wrapping, and tables whose first column is text and whose
//! others are numbers.

use std::fmt::Write;

use crate::terminal;

/// What the output can show.
#[derive(Clone, Copy, Debug)]
pub struct TextStyle {
    /// Columns.
    pub width: usize,
    /// Whether colours may be printed.
    pub coloured: bool,
    /// Whether characters beyond ASCII may be printed.
    pub utf8: bool,
}

impl TextStyle {
    /// What standard output can show. A pipe gets 120 columns, so that most names fit uncut.
    pub fn of_stdout() -> Self {
        Self {
            width: terminal::width().unwrap_or(120),
            coloured: terminal::is_coloured(),
            utf8: terminal::is_utf8(),
        }
    }

    /// Bold, for headings and names.
    pub fn heading(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Green.
    pub fn good(&self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Red, for failures and errors.
    pub fn bad(&self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Yellow, for warnings.
    pub fn warning(&self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Dim, for column heads and notes.
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Shortens text to `columns` by cutting its middle: a call site's ends are its function and
    /// line.
    pub fn fit(&self, text: &str, columns: usize) -> String {
        let letters: Vec<char> = text.chars().collect();
        if letters.len() <= columns {
            return text.to_owned();
        }
        let dots = if self.utf8 { "…" } else { ".." };
        let room = columns.saturating_sub(dots.chars().count());
        let head = room / 2;
        let tail = letters.len() - (room - head);
        let part = |range: &[char]| range.iter().collect::<String>();
        format!(
            "{}{dots}{}",
            part(letters.get(..head).unwrap_or(&[])),
            part(letters.get(tail..).unwrap_or(&[]))
        )
    }

    /// Wraps text, indenting each line by `indent` spaces.
    pub fn wrap(&self, text: &str, indent: usize) -> String {
        let width = self.width.clamp(40, 120);
        let mut lines = vec![" ".repeat(indent)];
        for word in text.split_whitespace() {
            let line = lines.last().map_or(0, |line| line.chars().count());
            if line > indent && line + 1 + word.chars().count() > width {
                lines.push(" ".repeat(indent));
            }
            if let Some(line) = lines.last_mut() {
                if line.len() > indent {
                    line.push(' ');
                }
                line.push_str(word);
            }
        }
        lines.join("\n")
    }

    /// Wraps text as a list item: `mark` precedes the first line, and all lines align.
    pub fn item(&self, mark: &str, text: &str, indent: usize) -> String {
        let words = self.wrap(text, indent + mark.len() + 1);
        format!(
            "{}{mark}{}",
            " ".repeat(indent),
            words.get(indent + mark.len()..).unwrap_or_default()
        )
    }

    /// A sparkline, one character a value.
    pub fn spark(&self, values: &[u64]) -> String {
        let steps: Vec<char> = if self.utf8 { " ▁▂▃▄▅▆▇█" } else { " .:-=+*%#" }.chars().collect();
        let max = values.iter().copied().max().unwrap_or(0).max(1);
        let step = |value: &u64| {
            let share = u128::from(*value) * (steps.len() as u128 - 1);
            steps.get(share.div_ceil(u128::from(max)) as usize).copied().unwrap_or(' ')
        };
        values.iter().map(step).collect()
    }
}

/// Minimum width of the first column, if the numbers leave no more: longer names get lines of their
/// own.
const MIN_NAME: usize = 16;

/// A table with a line of column heads.
pub struct Table {
    rows: Vec<Vec<String>>,
    optional: Vec<usize>,
}

impl Table {
    /// An empty table with these column heads.
    pub fn new(columns: &[&str]) -> Self {
        Self {
            rows: vec![columns.iter().map(|&name| name.to_owned()).collect()],
            optional: Vec::new(),
        }
    }

    /// Lets columns be left out where the text is too narrow, in this order.
    pub fn optional(mut self, columns: &[usize]) -> Self {
        columns.clone_into(&mut self.optional);
        self
    }

    /// Adds a row of as many cells.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Draws the table, indented by two spaces. A first cell that does not fit beside the numbers
    /// gets a line of its own.
    pub fn draw(&self, style: &TextStyle) -> String {
        let wide = |column: &usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(*column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut columns: Vec<usize> = (1..self.rows.first().map_or(0, Vec::len)).collect();
        let needed =
            |columns: &[usize]| columns.iter().map(|column| wide(column) + 2).sum::<usize>();
        for column in &self.optional {
            if needed(&columns) + 2 + MIN_NAME.min(wide(&0)) > style.width {
                columns.retain(|kept| kept != column);
            }
        }
        let room = style.width.saturating_sub(needed(&columns) + 2);
        let words = wide(&0).min(room.max(MIN_NAME));
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let name = row.first().map_or("", String::as_str);
            let mut line = String::from("  ");
            if name.chars().count() > words {
                let _ = writeln!(text, "  {}", style.fit(name, style.width.saturating_sub(2)));
                let _ = write!(line, "{:<words$}", "");
            } else {
                let _ = write!(line, "{name:<words$}");
            }
            for column in &columns {
                let (cell, width) = (row.get(*column).map_or("", String::as_str), wide(column) + 2);
                let _ = write!(line, "{cell:>width$}");
            }
            let line = line.trim_end();
            text.push_str(&if index == 0 { style.dim(line) } else { line.to_owned() });
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, TextStyle};

    const STYLE: TextStyle = TextStyle { width: 40, coloured: false, utf8: false };

    #[test]
    fn a_long_name_gets_a_line_of_its_own() {
        let mut table = Table::new(&["site", "calls"]);
        table.row(["a_function_with_a_long_name (file.c:123)".to_owned(), "7".to_owned()]);
        let drawn = table.draw(&STYLE);
        assert!(drawn.lines().all(|line| line.len() <= 40), "{drawn}");
        assert!(drawn.contains("c:123)\n") && drawn.ends_with("      7\n"), "{drawn}");
    }

    #[test]
    fn a_sparkline_shows_the_highest_and_every_non_zero_value() {
        assert_eq!(STYLE.spark(&[0, 1, 500, 1000]), " .=#");
    }
}
