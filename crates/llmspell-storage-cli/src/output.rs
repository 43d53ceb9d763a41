//! Answers, as tables for people and as JSON for programs.

use std::io::{self, IsTerminal, StdoutLock, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Row, Table};
use serde::Serialize;

use crate::errors::CliError;

/// Columns when stdout is no terminal, and at most.
pub(crate) const WIDTH_MAX: u16 = 100;

/// Stdout: tables and sentences, or with `--json` one object a line.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: io::BufWriter<StdoutLock<'static>>,
    json: bool,
    color: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            stdout: io::BufWriter::new(io::stdout().lock()),
            json,
            color,
        }
    }

    /// Whether programs read this.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A JSON object on a line of its own; nothing for people.
    pub(crate) fn object(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        if self.json {
            serde_json::to_writer(&mut self.stdout, value).map_err(|error| CliError::output(error.into()))?;
            self.stdout.write_all(b"\n").map_err(CliError::output)?;
        }
        Ok(())
    }

    /// A line for people; nothing for programs.
    pub(crate) fn text(&mut self, line: impl AsRef<str>) -> Result<(), CliError> {
        if self.json {
            return Ok(());
        }
        writeln!(self.stdout, "{}", line.as_ref()).map_err(CliError::output)
    }

    /// A table for people; nothing for programs.
    pub(crate) fn table(&mut self, mut table: Table) -> Result<(), CliError> {
        if !self.color {
            table.force_no_tty();
        }
        if self.json {
            return Ok(());
        }
        for line in table.lines() {
            writeln!(self.stdout, "{}", line.trim_end()).map_err(CliError::output)?;
        }
        Ok(())
    }

    /// Bytes as they are, in either form.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.stdout.write_all(bytes).map_err(CliError::output)
    }

    /// Hands over what was written so far.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.stdout.flush().map_err(CliError::output)
    }

    /// Text that stands out, where that is possible.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    /// Text that steps back, where that is possible.
    pub(crate) fn dim(&self, text: &str) -> String {
        self.styled("2", text)
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    /// The last words: everything must have gone out.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        self.flush()
    }
}

/// A table with these headings, as wide as the terminal (at most, and without one, [`WIDTH_MAX`]).
pub(crate) fn table<'a>(headings: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    let width = table.width().unwrap_or(WIDTH_MAX).min(WIDTH_MAX);
    table.set_width(width);
    let headings: Vec<Cell> = headings
        .into_iter()
        .map(|heading| Cell::new(heading).add_attribute(Attribute::Bold))
        .collect();
    if headings.iter().any(|heading| !heading.content().is_empty()) {
        table.set_header(headings);
    }
    table
}

/// A row that never takes more than one line.
pub(crate) fn row(cells: impl IntoIterator<Item = Cell>) -> Row {
    let mut row = Row::from(cells.into_iter().collect::<Vec<_>>());
    row.max_height(1);
    row
}

/// A cell for words.
pub(crate) fn text_cell(text: impl ToString) -> Cell {
    Cell::new(text)
}

/// A cell for a number.
pub(crate) fn number_cell(number: impl ToString) -> Cell {
    Cell::new(number).set_alignment(CellAlignment::Right)
}

/// `12,345,678`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `9.5 MB`, in powers of 1,000.
pub(crate) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 99.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `1 vector`, `2 vectors`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// The text on one line without what would disturb a terminal, at most `chars_max` characters long.
pub(crate) fn one_line(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    let mut chars = 0;
    let words = text.split(|character: char| character.is_whitespace() || character.is_control());
    for word in words {
        if word.is_empty() {
            continue;
        }
        let gap = usize::from(!line.is_empty());
        let length = word.chars().count();
        if chars + gap + length > chars_max {
            let room = chars_max.saturating_sub(chars + gap + 1);
            // A few letters of a word are of no use, unless they are the whole word.
            if gap == 1 && room >= 4 {
                line.push(' ');
            }
            if gap == 0 || room >= 4 {
                line.extend(word.chars().take(room));
            }
            if chars == chars_max {
                line.pop();
            }
            line.push('…');
            return line;
        }
        if gap == 1 {
            line.push(' ');
        }
        line.push_str(word);
        chars += gap + length;
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }

    #[test]
    fn bytes_have_a_unit_that_fits() {
        assert_eq!(bytes_text(0), "0 B");
        assert_eq!(bytes_text(999), "999 B");
        assert_eq!(bytes_text(9_540_000), "9.5 MB");
        assert_eq!(bytes_text(999_999), "1.0 MB");
        assert_eq!(bytes_text(123_456), "123 kB");
    }

    #[test]
    fn a_word_that_fills_the_line_makes_room_for_the_sign_that_more_follows() {
        assert_eq!(one_line("words follow", 5), "word…");
        assert_eq!(one_line("words follow", 6), "words…");
        assert_eq!(one_line("words", 5), "words");
    }

    proptest! {
        #[test]
        fn a_cut_line_is_one_line_and_fits(text in any::<String>(), chars_max in 1..80_usize) {
            let line = one_line(&text, chars_max);
            prop_assert!(line.chars().count() <= chars_max, "{line:?}");
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
