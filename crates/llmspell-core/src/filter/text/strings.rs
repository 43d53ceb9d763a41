//! Quoting and unquoting of strings: as in JSON, and strings in single quotes are read too.

use std::fmt::{self, Write};

/// Why a quoted string cannot be read, and at which byte.
#[derive(Debug, PartialEq)]
pub(in crate::filter) struct BadString {
    pub(in crate::filter) at: usize,
    pub(in crate::filter) reason: &'static str,
}

/// The string that `text` begins with, and the number of bytes it takes, quotes included.
///
/// `text` begins with a double quote, or with a single quote, which then ends the string too and may be escaped in it.
pub(in crate::filter) fn read_quoted(text: &str) -> Result<(String, usize), BadString> {
    let mut read = String::new();
    let quote = if text.starts_with('\'') { '\'' } else { '"' };
    let mut rest = text.char_indices().skip(1);
    while let Some((at, character)) = rest.next() {
        match character {
            character if character == quote => return Ok((read, at + 1)),
            '\\' => {
                let (escaped, units) = escape(text, at, quote)?;
                read.push(escaped);
                // The backslash is already consumed.
                rest.by_ref().take(units - 1).for_each(drop);
            }
            '\0'..'\u{20}' => {
                let reason = "a control character must be escaped, such as \\n for a new line";
                return Err(BadString { at, reason });
            }
            other => read.push(other),
        }
    }
    let reason = match quote {
        '\'' => "the string does not end; a single quote is missing",
        _ => "the string does not end; a double quote is missing",
    };
    Err(BadString { at: 0, reason })
}

/// The character of the escape at this byte, and how many characters it takes, all of them one byte long.
fn escape(text: &str, at: usize, quote: char) -> Result<(char, usize), BadString> {
    let bad = |reason| BadString { at, reason };
    let character = match text.as_bytes().get(at + 1) {
        Some(b'"') => '"',
        Some(b'\'') if quote == '\'' => '\'',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(text, at),
        _ => {
            return Err(bad(
                "escapes are \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hexadecimal digits",
            ));
        }
    };
    Ok((character, 2))
}

fn unicode_escape(text: &str, at: usize) -> Result<(char, usize), BadString> {
    let bad = |reason| BadString { at, reason };
    let unit = |at: usize| {
        let digits = text.as_bytes().get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0_u16, |unit, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(unit << 4 | u16::try_from(digit).ok()?)
        })
    };
    let first = unit(at).ok_or_else(|| bad("\\u takes four hexadecimal digits"))?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Ok((character, 6));
    }
    let pair = [Some(first), unit(at + 6)].into_iter().flatten();
    match char::decode_utf16(pair).next() {
        Some(Ok(character)) => Ok((character, 12)),
        _ => Err(bad(
            "half of a surrogate pair; write both halves, or the character itself",
        )),
    }
}

/// Writes `text` so that [`read_quoted`] reads it.
pub(in crate::filter) fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\0'..'\u{20}' => write!(f, "\\u{:04x}", u32::from(character))?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::Scalar;

    proptest! {
        #[test]
        fn a_string_is_read_as_json_reads_it(inner in r#"([a-zé"\\/bfnrtu\n\u{1}]|\\u[dD][89cC][0-9a-f]{2}|\\[nu"]){0,12}"#) {
            let text = format!("\"{inner}");
            let mut json = serde_json::Deserializer::from_str(&text).into_iter::<String>();
            match (read_quoted(&text), json.next()) {
                (Ok((ours, end)), Some(Ok(theirs))) => {
                    prop_assert_eq!(ours, theirs);
                    prop_assert_eq!(end, json.byte_offset());
                }
                (Err(error), Some(Err(_))) => prop_assert!(text.is_char_boundary(error.at)),
                (ours, theirs) => prop_assert!(false, "{:?} {:?} {:?}", text, ours, theirs),
            }
        }

        #[test]
        fn every_string_reads_back(text in any::<String>()) {
            let quoted = Scalar::from(&text).to_string();
            prop_assert_eq!(read_quoted(&quoted), Ok((text, quoted.len())));
        }
    }
}
