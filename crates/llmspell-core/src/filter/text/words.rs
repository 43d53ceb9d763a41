//! The lexer of the text form: the next word, field or value, and the error if another was expected.

use super::strings;
use crate::filter::error::FilterProblem;
use crate::filter::number::Number;
use crate::filter::path::FieldPath;
use crate::filter::scalar::Scalar;
use crate::filter::times::OwnTime;
use crate::text::shortened;

/// Words that begin or join conditions or are values; a field with such a name must be quoted.
pub(super) fn is_reserved(word: &str) -> bool {
    ["and", "or", "not", "exists", "true", "false", "null"]
        .iter()
        .any(|reserved| word.eq_ignore_ascii_case(reserved))
}

/// Whether an unquoted field may begin with this character.
pub(super) fn is_key_start(character: char) -> bool {
    character.is_alphabetic() || matches!(character, '_' | '$')
}

/// Whether an unquoted key may contain this character after its first.
pub(super) fn is_key_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '$' | '@')
}

/// A problem at a byte offset.
pub(super) struct Bad {
    pub(super) at: usize,
    pub(super) problem: FilterProblem,
}

pub(super) type Result<T, E = Bad> = std::result::Result<T, E>;

/// The text, and the position of the reader.
pub(super) struct Words<'a> {
    text: &'a str,
    /// Offset of the next byte, on a character boundary.
    pub(super) at: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn field(&mut self) -> Result<(FieldPath, usize)> {
        self.skip_spaces();
        let start = self.at;
        if self.rest().starts_with('@') {
            return self.own_time().map(|path| (path, start));
        }
        let is_quoted = self.rest().starts_with('"');
        if !is_quoted && (!self.rest().starts_with(is_key_start) || is_reserved(self.key_here())) {
            return Err(self.expected_with("a field", self.help_for_field()));
        }
        let mut keys = Vec::new();
        loop {
            if self.rest().starts_with('"') {
                keys.push(self.quoted()?);
            } else {
                let key = self.key_here();
                if key.is_empty() {
                    let help = "quote a key with other characters: a.\"b c\"".to_string();
                    return Err(self.expected_with("a key", help));
                }
                keys.push(key.to_string());
                self.at += key.len();
            }
            if !self.rest().starts_with('.') {
                return Ok((FieldPath::of_keys(keys), start));
            }
            self.at += 1;
        }
    }

    /// The time of the entry that is named here.
    fn own_time(&mut self) -> Result<FieldPath> {
        let rest = self.rest();
        let is_part = |character: char| is_key_character(character) || matches!(character, '.' | '"');
        let name = &rest[..rest.find(|character| !is_part(character)).unwrap_or(rest.len())];
        let time = OwnTime::named(name).map_err(|reason| {
            let path = shortened(name);
            self.problem(FilterProblem::BadPath { path, reason })
        })?;
        self.at += name.len();
        Ok(time.into())
    }

    pub(super) fn value(&mut self) -> Result<(Scalar, usize)> {
        self.skip_spaces();
        let at = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Err(self.expected("a value"));
        };
        let value = match first {
            '"' | '\'' => Scalar::Text(self.quoted()?),
            '-' | '+' | '.' | '0'..='9' => Scalar::Number(self.number()?),
            '[' => return Err(self.problem(FilterProblem::NotScalar { got: "an array" })),
            '{' => return Err(self.problem(FilterProblem::NotScalar { got: "an object" })),
            _ if self.takes_word("true") => Scalar::Bool(true),
            _ if self.takes_word("false") => Scalar::Bool(false),
            _ if self.takes_word("null") => Scalar::Null,
            _ => return Err(self.expected_with("a value", self.help_for_text())),
        };
        Ok((value, at))
    }

    fn number(&mut self) -> Result<Number> {
        let is_part = |character: char| is_key_character(character) || matches!(character, '+' | '.');
        let rest = self.rest();
        let text = &rest[..rest.find(|character| !is_part(character)).unwrap_or(rest.len())];
        if !is_json_number(text) {
            let help = "write 5, -5, 0.5 or 5e9, and text in quotes".to_string();
            return Err(self.expected_with("a number", help));
        }
        let number = Number::from_json_text(text).expect("every JSON number is one of Rust");
        if !number.is_finite() {
            return Err(self.problem(FilterProblem::NotFinite { value: shortened(text) }));
        }
        self.at += text.len();
        Ok(number)
    }

    pub(super) fn string(&mut self) -> Result<(String, usize)> {
        self.skip_spaces();
        if self.rest().starts_with(['"', '\'']) {
            let at = self.at;
            return Ok((self.quoted()?, at));
        }
        Err(self.expected_with("a string", self.help_for_text()))
    }

    /// The string that begins here.
    fn quoted(&mut self) -> Result<String> {
        let (text, bytes) = strings::read_quoted(self.rest()).map_err(|bad| Bad {
            at: self.at + bad.at,
            problem: FilterProblem::BadString { reason: bad.reason },
        })?;
        self.at += bytes;
        Ok(text)
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// The unquoted key or word here; may be empty.
    fn key_here(&self) -> &'a str {
        let rest = self.rest();
        &rest[..rest
            .find(|character| !is_key_character(character))
            .unwrap_or(rest.len())]
    }

    pub(super) fn takes(&mut self, symbol: &str) -> bool {
        self.skip_spaces();
        let is_here = self.rest().starts_with(symbol);
        self.at += if is_here { symbol.len() } else { 0 };
        is_here
    }

    pub(super) fn is_at_word(&mut self, word: &str) -> bool {
        self.skip_spaces();
        self.key_here().eq_ignore_ascii_case(word)
    }

    pub(super) fn takes_word(&mut self, word: &str) -> bool {
        let is_here = self.is_at_word(word);
        self.at += if is_here { word.len() } else { 0 };
        is_here
    }

    /// Consumes a keyword, or the symbol that is another form of it.
    pub(super) fn takes_either(&mut self, [word, symbol]: [&str; 2]) -> bool {
        self.takes_word(word) || self.takes(symbol)
    }

    pub(super) fn word(&mut self, word: &'static str) -> Result<()> {
        if self.takes_word(word) {
            return Ok(());
        }
        let expected = match word {
            "with" => "`with`",
            "null" => "`null`",
            "in" => "`in`",
            _ => "`and`",
        };
        Err(self.expected(expected))
    }

    pub(super) fn problem(&self, problem: FilterProblem) -> Bad {
        Bad { at: self.at, problem }
    }

    pub(super) fn expected(&mut self, expected: &'static str) -> Bad {
        self.expected_with(expected, String::new())
    }

    pub(super) fn expected_with(&self, expected: &'static str, help: String) -> Bad {
        let found = match self.rest().chars().next() {
            None => "the end".to_string(),
            Some(first) if is_key_character(first) => format!("`{}`", shortened(self.key_here())),
            Some(first) => format!("`{first}`"),
        };
        self.problem(FilterProblem::Syntax { expected, found, help })
    }

    /// What to write instead of a symbol of another language.
    pub(super) fn foreign_symbol(&self) -> Option<String> {
        let foreign = [
            ("===", "="),
            ("<>", "!="),
            ("=<", "<="),
            ("=>", ">="),
            ("!in", "not in"),
        ];
        let (_, ours) = foreign.iter().find(|(symbol, _)| self.rest().starts_with(symbol))?;
        Some(format!("write `{ours}`"))
    }

    pub(super) fn help_for_operator(&self) -> String {
        let word = self.key_here().to_ascii_lowercase();
        match word.as_str() {
            "like" | "ilike" | "startswith" | "starts_with" => "write starts with \"…\" or matches \"…\"".into(),
            "has" | "includes" => "write contains".into(),
            "exists" => "write exists before the field".into(),
            _ if self.rest().starts_with(['&', '|', ')', '!']) || self.rest().is_empty() => {
                "a field alone is no condition; write exists before it, or compare it".into()
            }
            _ => String::new(),
        }
    }

    fn help_for_field(&self) -> String {
        let rest = self.rest();
        if rest.starts_with('\'') {
            return "quote a field with double quotes".into();
        }
        let word = self.key_here();
        if is_reserved(word) {
            return format!("a field of this name is quoted: \"{word}\"");
        }
        if rest.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
            return "the field comes first, as in size > 5; one that begins like a number is quoted".into();
        }
        String::new()
    }

    fn help_for_text(&self) -> String {
        let word = self.key_here();
        if word.is_empty() {
            return String::new();
        }
        format!("text is written in quotes: \"{}\"", shortened(word))
    }
}

fn is_json_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (text, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && digits(fraction) && digits(exponent)
}
