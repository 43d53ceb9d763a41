//! Answers, as tables for people and as JSON for programs.

use std::io::{self, IsTerminal, StdoutLock, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width};
use serde::Serialize;

use crate::errors::CliError;

/// Stdout: tables and sentences, or with `--json` one object a line.
#[derive(Debug)]
pub struct Output {
    stdout: io::BufWriter<StdoutLock<'static>>,
    json: bool,
    color: bool,
    is_terminal: bool,
}

impl Output {
    /// Stdout, locked until this value is dropped.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let color = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            stdout: io::BufWriter::new(io::stdout().lock()),
            json,
            color,
            is_terminal,
        }
    }

    /// Whether programs read this.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A JSON object on a line of its own; nothing for people.
    pub fn object(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        if self.json {
            serde_json::to_writer(&mut self.stdout, value).map_err(|error| CliError::output(error.into()))?;
            self.stdout.write_all(b"\n").map_err(CliError::output)?;
        }
        Ok(())
    }

    /// A line for people; nothing for programs.
    pub fn text(&mut self, line: impl AsRef<str>) -> Result<(), CliError> {
        if self.json {
            return Ok(());
        }
        writeln!(self.stdout, "{}", line.as_ref()).map_err(CliError::output)
    }

    /// A table for people; nothing for programs.
    pub fn table(&mut self, mut table: Table) -> Result<(), CliError> {
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

    /// Bytes as they are; on a terminal the last line of them ends, so that a prompt begins its own.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.stdout.write_all(bytes).map_err(CliError::output)?;
        let ending = missing_ending(bytes, self.is_terminal);
        self.stdout.write_all(ending).map_err(CliError::output)
    }

    /// Hands over what was written so far.
    pub fn flush(&mut self) -> Result<(), CliError> {
        self.stdout.flush().map_err(CliError::output)
    }

    /// Text that stands out, where that is possible.
    #[must_use]
    pub fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    /// Text that steps back, where that is possible.
    #[must_use]
    pub fn dim(&self, text: &str) -> String {
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
    pub fn finish(mut self) -> Result<(), CliError> {
        self.flush()
    }
}

fn missing_ending(bytes: &[u8], is_terminal: bool) -> &'static [u8] {
    match bytes.last() {
        Some(b'\n') | None => b"",
        Some(_) if is_terminal => b"\n",
        Some(_) => b"",
    }
}

/// A table with these headings: as wide as the terminal, or as wide as its cells where there is none.
pub fn table<'a>(headings: impl IntoIterator<Item = &'a str>) -> Table {
    table_of_width(terminal_width(), headings)
}

/// Columns of the terminal that stdout is; some terminals say that they have none, and mean that they do not know.
fn terminal_width() -> Option<u16> {
    Table::new().width().filter(|columns| *columns > 0)
}

fn table_of_width<'a>(columns: Option<u16>, headings: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    match columns {
        Some(columns) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(columns),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    let headings: Vec<&str> = headings.into_iter().collect();
    if headings.iter().all(|heading| heading.is_empty()) {
        return table;
    }
    let cells = headings
        .iter()
        .map(|heading| Cell::new(heading).add_attribute(Attribute::Bold));
    table.set_header(cells.collect::<Vec<_>>());
    for (heading, column) in headings.iter().zip(table.column_iter_mut()) {
        let longest = heading.split(' ').map(str::len).max().unwrap_or_default();
        let columns = u16::try_from(longest).unwrap_or(u16::MAX).saturating_add(PADDING);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(columns)));
    }
    table
}

/// Blanks on both sides of a cell.
const PADDING: u16 = 2;

/// A row that takes one line on a terminal.
pub fn row(cells: impl IntoIterator<Item = Cell>) -> Row {
    let mut row = Row::from(cells.into_iter().collect::<Vec<_>>());
    row.max_height(1);
    row
}

/// A cell for text of the user: on one line, whole where no terminal bounds it.
#[must_use]
pub fn line_cell(text: &str) -> Cell {
    Cell::new(one_line(text, usize::MAX))
}

/// A cell for words.
pub fn text_cell(text: impl ToString) -> Cell {
    Cell::new(text)
}

/// A cell for a number.
pub fn number_cell(number: impl ToString) -> Cell {
    Cell::new(number).set_alignment(CellAlignment::Right)
}

/// `12,345,678`.
#[must_use]
pub fn grouped(number: u64) -> String {
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
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
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
#[must_use]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// The text on one line without what would disturb a terminal, at most `chars_max` characters long.
#[must_use]
pub fn one_line(text: &str, chars_max: usize) -> String {
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

    #[test]
    fn the_last_line_ends_on_a_terminal_only() {
        assert_eq!(missing_ending(b"dark", true), b"\n");
        assert_eq!(missing_ending(b"dark\n", true), b"");
        assert_eq!(missing_ending(b"", true), b"");
        assert_eq!(missing_ending(b"dark", false), b"");
    }

    fn text_of(columns: Option<u16>, words: &str) -> String {
        let mut lines = table_of_width(columns, ["id", "metadata bytes", "text"]);
        lines.add_row(row([text_cell("a"), number_cell("12 kB"), line_cell(words)]));
        lines.force_no_tty().to_string()
    }

    #[test]
    fn a_table_is_as_wide_as_the_terminal_and_whole_without_one() {
        let words = "word ".repeat(60);
        assert!(text_of(None, &words).contains(words.trim_end()));
        for columns in [40, 80, 140] {
            let text = text_of(Some(columns), &words);
            let widest = text.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
            assert!(widest <= usize::from(columns), "{text}");
            assert!(widest + 8 > usize::from(columns), "{text}");
        }
    }

    #[test]
    fn a_heading_breaks_between_its_words() {
        let text = text_of(Some(24), "some words of a text");
        assert!(text.contains("metadata"), "{text}");
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
