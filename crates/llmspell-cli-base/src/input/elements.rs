//! The elements of a JSON array, one after the other: which bytes are each of them?
//!
//! Only brackets, braces, commas and strings are looked at; whether an element is JSON, who reads it finds out.

use std::io::{self, BufRead};

use super::lines::LINE_BYTES_MAX;

/// An element, or why there is none.
pub(super) type Element = Result<Vec<u8>, &'static str>;

/// Cuts an array into its elements.
#[derive(Debug, Default)]
pub(super) struct Elements {
    state: State,
    /// Line that is being read, from 1.
    line: u64,
    pub(super) bytes_read: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Before,
    Within,
    After,
}

impl Elements {
    /// The next element with the line that it begins in; none after the last one.
    pub(super) fn next(&mut self, reader: &mut dyn BufRead) -> io::Result<Option<(u64, Element)>> {
        let mut element = Element::Ok(Vec::new());
        let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
        let mut begin = None;
        while let Some(byte) = self.next_byte(reader)? {
            let is_blank = byte.is_ascii_whitespace();
            match (self.state, byte) {
                (State::Before, b'[') => {
                    self.state = State::Within;
                    continue;
                }
                (State::Before | State::After, _) if is_blank => continue,
                (State::Before, _) => {
                    self.skip(reader)?;
                    return Ok(Some((self.line, Err("no array begins here"))));
                }
                (State::After, _) => {
                    self.skip(reader)?;
                    return Ok(Some((self.line, Err("something follows the array"))));
                }
                (State::Within, _) if begin.is_none() && is_blank => continue,
                (State::Within, _) => {}
            }
            let was_escaped = std::mem::take(&mut is_escaped);
            match byte {
                b'"' if !was_escaped => in_string = !in_string,
                b'\\' if in_string && !was_escaped => is_escaped = true,
                _ if in_string => {}
                b'[' | b'{' => depth += 1,
                b']' if depth == 0 => {
                    self.state = State::After;
                    match begin {
                        Some(line) => return Ok(Some((line, element))),
                        None => continue,
                    }
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b',' if depth == 0 => match begin.take() {
                    Some(line) => return Ok(Some((line, element))),
                    None => continue,
                },
                _ => {}
            }
            begin.get_or_insert(self.line);
            match &mut element {
                Ok(bytes) if bytes.len() as u64 >= LINE_BYTES_MAX => element = Err("it is longer than 64 MiB"),
                Ok(bytes) => bytes.push(byte),
                Err(_) => {}
            }
        }
        let is_cut = std::mem::replace(&mut self.state, State::After) == State::Within;
        let line = begin.unwrap_or(self.line);
        Ok(is_cut.then_some((line, Err("the array does not end"))))
    }

    fn next_byte(&mut self, reader: &mut dyn BufRead) -> io::Result<Option<u8>> {
        let Some(byte) = reader.fill_buf()?.first().copied() else {
            return Ok(None);
        };
        reader.consume(1);
        self.bytes_read += 1;
        self.line = self.line.max(1) + u64::from(byte == b'\n');
        Ok(Some(byte))
    }

    fn skip(&mut self, reader: &mut dyn BufRead) -> io::Result<()> {
        while self.next_byte(reader)?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements_of(text: &str) -> Vec<(u64, Result<String, &'static str>)> {
        let (mut elements, mut reader) = (Elements::default(), text.as_bytes());
        std::iter::from_fn(|| elements.next(&mut reader).unwrap())
            .map(|(line, element)| (line, element.map(|bytes| String::from_utf8(bytes).unwrap())))
            .collect()
    }

    #[test]
    fn commas_and_brackets_in_strings_and_inner_arrays_cut_nothing() {
        let text = "[\n{\"a\": [1, 2]},\n{\"b\": \"],\\\"[\"}, 3\n]\n";
        let expected = ["{\"a\": [1, 2]}", "{\"b\": \"],\\\"[\"}", "3\n"];
        let elements = elements_of(text);
        let texts: Vec<_> = elements.iter().map(|(_, element)| element.clone().unwrap()).collect();
        assert_eq!(texts, expected);
        assert_eq!(elements.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 3]);
        assert_eq!(elements_of("[]"), []);
    }

    #[test]
    fn an_array_that_is_cut_or_goes_on_says_so() {
        assert_eq!(
            elements_of("[1, {\"a\": "),
            [(1, Ok("1".into())), (1, Err("the array does not end"))]
        );
        assert_eq!(
            elements_of("[1]\nx[2]"),
            [(1, Ok("1".into())), (2, Err("something follows the array"))]
        );
    }
}
