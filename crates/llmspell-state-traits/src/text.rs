//! The text form of a scope, for people.
//!
//! `global`, or `KIND:ID`. The first colon ends the kind, so an id may contain colons. The percent sign, control
//! characters and the Unicode line separators, which could break a terminal or a line, are escaped as `%XX`.

use std::fmt;
use std::str::FromStr;

use crate::scope::{ScopeError, ScopeKind, StateScope};

impl fmt::Display for StateScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        let Some(id) = self.id() else { return Ok(()) };
        f.write_str(":")?;
        for character in id.chars() {
            if needs_escape(character) {
                let mut utf8 = [0; 4];
                for byte in character.encode_utf8(&mut utf8).bytes() {
                    write!(f, "%{byte:02X}")?;
                }
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

fn needs_escape(character: char) -> bool {
    character == '%' || character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

impl FromStr for StateScope {
    type Err = ScopeError;

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    ///
    /// [`ScopeError`], also when the id is empty or too long.
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text == ScopeKind::Global.name() {
            return Ok(Self::Global);
        }
        let unknown = || ScopeError::UnknownKind { text: shortened(text) };
        let (name, escaped_id) = text.split_once(':').ok_or_else(unknown)?;
        let kind = ScopeKind::ALL
            .into_iter()
            .find(|kind| kind.name() == name && *kind != ScopeKind::Global)
            .ok_or_else(unknown)?;
        let id = unescape(escaped_id).map_err(|at| ScopeError::BadEscape {
            text: shortened(text),
            at: name.len() + 1 + at,
        })?;
        let scope = kind.with_id(id);
        scope.validate()?;
        Ok(scope)
    }
}

impl TryFrom<&str> for StateScope {
    type Error = ScopeError;

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    ///
    /// [`ScopeError`], also when the id is empty or too long.
    fn try_from(text: &str) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl TryFrom<String> for StateScope {
    type Error = ScopeError;

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    ///
    /// [`ScopeError`], also when the id is empty or too long.
    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

/// The unescaped text, or the offset of the first bad escape.
fn unescape(text: &str) -> Result<String, usize> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let mut first_escape = None;
    while let Some((&byte, after)) = rest.split_first() {
        let at = text.len() - rest.len();
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        first_escape.get_or_insert(at);
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .ok_or(at)?;
        // `from_str_radix` would also take a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(at);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| at)?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| first_escape.unwrap_or(0))
}

fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 64;
    let mut short: String = text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scope::SCOPE_ID_BYTES_MAX;

    fn any_scope() -> impl Strategy<Value = StateScope> {
        let hostile = prop_oneof![
            any::<String>(),
            "[%:/.\\\\a-b0-9\\x00-\\x1f]{1,20}",
            Just("..".to_string()),
            Just("/".to_string()),
            Just("%41".to_string()),
            Just("user:ada".to_string()),
            Just("é".to_string()),
            Just("e\u{301}".to_string()),
        ];
        let id = hostile.prop_filter("valid ids", |id| !id.is_empty() && id.len() <= SCOPE_ID_BYTES_MAX);
        (0..ScopeKind::ALL.len(), id).prop_map(|(kind, id)| ScopeKind::ALL[kind].with_id(id))
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_back(scope in any_scope()) {
            let json = serde_json::to_string(&scope).unwrap();
            prop_assert_eq!(&serde_json::from_str::<StateScope>(&json).unwrap(), &scope);
            prop_assert_eq!(scope.to_string().parse::<StateScope>(), Ok(scope));
        }

        #[test]
        fn the_text_is_one_printable_line(scope in any_scope()) {
            prop_assert!(!scope.to_string().chars().any(char::is_control));
        }

        #[test]
        fn parsing_never_panics_and_what_parses_is_valid(text in ".*") {
            if let Ok(scope) = text.parse::<StateScope>() {
                prop_assert_eq!(scope.validate(), Ok(()));
            }
        }
    }

    #[test]
    fn a_colon_stays_a_colon_and_a_percent_sign_is_escaped() {
        assert_eq!(StateScope::Custom("tenant:123".into()).to_string(), "custom:tenant:123");
        assert_eq!(StateScope::User("50%\n".into()).to_string(), "user:50%25%0A");
    }

    #[test]
    fn a_bad_text_is_refused_with_the_place() {
        let error = |text: &str| text.parse::<StateScope>().unwrap_err().to_string();
        assert!(error("tenant").contains("write `global` or `KIND:ID`"));
        assert!(error("global:").contains("not a scope"));
        assert!(error("user:a%2").contains("bad escape at byte 6"));
        assert!(error("user:a%+1").contains("bad escape at byte 6"));
        assert!(error("user:%FF").contains("bad escape at byte 5"));
    }
}
