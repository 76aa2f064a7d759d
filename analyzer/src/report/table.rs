//! Tables of text that fit the style: the first column is words, the others are numbers.

use std::fmt::Write;

use crate::terminal;

/// How text is to look.
#[derive(Clone, Copy, Debug)]
pub struct TextStyle {
    /// Columns.
    pub width: usize,
    /// Colours allowed.
    pub coloured: bool,
    /// Characters beyond ASCII allowed.
    pub utf8: bool,
}

impl TextStyle {
    /// What standard output can show. A pipe gets 120 columns: room for names, and still readable.
    pub fn of_stdout() -> Self {
        Self {
            width: terminal::width().unwrap_or(120),
            coloured: terminal::is_coloured(),
            utf8: terminal::is_utf8(),
        }
    }

    /// A heading.
    pub fn heading(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Something good.
    pub fn good(&self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something bad.
    pub fn bad(&self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Something doubtful.
    pub fn warning(&self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Something of less interest.
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Cuts words in their middle, since both a name's start and its line number matter.
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

    /// A sentence over several lines, each begun by `indent` blanks.
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

    /// A sentence behind a mark, its further lines under its words.
    pub fn item(&self, mark: &str, text: &str, indent: usize) -> String {
        let words = self.wrap(text, indent + mark.len() + 1);
        format!(
            "{}{mark}{}",
            " ".repeat(indent),
            words.get(indent + mark.len()..).unwrap_or_default()
        )
    }

    /// A bar chart in one line.
    pub fn spark(&self, values: &[u64]) -> String {
        let steps: Vec<char> = if self.utf8 { " ▁▂▃▄▅▆▇█" } else { " .:-=+*%#" }.chars().collect();
        let most = values.iter().copied().max().unwrap_or(0).max(1);
        let step = |value: &u64| {
            let share = u128::from(*value) * (steps.len() as u128 - 1);
            steps.get(share.div_ceil(u128::from(most)) as usize).copied().unwrap_or(' ')
        };
        values.iter().map(step).collect()
    }
}

/// Rows under a heading.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts with the heading.
    pub fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|&name| name.to_owned()).collect()] }
    }

    /// Adds a row of as many cells.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Draws it, two blanks in front. A name longer than the numbers leave room for gets a line of its own.
    pub fn draw(&self, style: &TextStyle) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let wide = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (1..columns).map(|column| wide(column) + 2).collect();
        let room = style.width.saturating_sub(widths.iter().sum::<usize>() + 2);
        let words = wide(0).min(room.max(16));
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
            for (cell, width) in row.iter().skip(1).zip(&widths) {
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
