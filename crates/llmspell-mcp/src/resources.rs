//! Entries as resources: `memory:///SCOPE/ID`, both percent-encoded.

use llmspell_storage::StateScope;

const BEGIN: &str = "memory:///";

/// The template, for clients.
pub(crate) const TEMPLATE: &str = "memory:///{scope}/{id}";

/// The URI of an entry.
pub(crate) fn uri(scope: &StateScope, id: &str) -> String {
    format!("{BEGIN}{}/{}", encoded(&scope.to_string()), encoded(id))
}

/// The scope and the id that a URI names; none if it is no URI of an entry.
pub(crate) fn named(uri: &str) -> Option<(StateScope, String)> {
    let (scope, id) = uri.strip_prefix(BEGIN)?.split_once('/')?;
    let (scope, id) = (decoded(scope)?, decoded(id)?);
    Some((scope.parse().ok()?, id))
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'/' => return None,
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_scope_and_id_come_back_from_their_uri() {
        let scopes = [
            StateScope::Global,
            StateScope::User("ada/../bob %2F".into()),
            StateScope::Custom("ü:7".into()),
        ];
        for scope in scopes {
            for id in ["a", "a/b", "..", "%2F", "ünï code", "memory:///global/x"] {
                assert_eq!(named(&uri(&scope, id)), Some((scope.clone(), id.to_string())));
            }
        }
    }

    #[test]
    fn what_is_no_uri_of_an_entry_is_none() {
        for uri in [
            "",
            "memory:///",
            "memory:///global",
            "file:///etc/passwd",
            "memory:///user:/a",
            "memory:///global/%zz",
            "memory:///global/a/b",
            "memory:///global/%ff",
        ] {
            assert_eq!(named(uri), None, "{uri}");
        }
    }
}
