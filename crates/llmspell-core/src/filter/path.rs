//! Which field is meant?

use std::fmt;

use serde_json::Value;

use super::text::strings;
use crate::vector::Metadata;

/// The way to a field: its key, or the keys of the objects around it and then its key.
///
/// Written with dots: `meta.author` is the key `author` in the object under the key `meta`. A key that holds a dot or a
/// quote, or that is empty, is quoted like a JSON string: `"a.b".c`. The text is read when it becomes a path; text that
/// is no path (`a..b`) is kept, names no field, and is refused when the filter is checked.
///
/// ```
/// # use llmspell_core::filter::FieldPath;
/// assert_eq!(FieldPath::from("meta.author").keys(), ["meta", "author"]);
/// assert_eq!(FieldPath::from(r#""a.b".c"#).keys(), ["a.b", "c"]);
/// assert_eq!(FieldPath::of_keys(["a.b", "c"]).to_string(), r#""a.b".c"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Form);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    Keys(Vec<String>),
    Malformed { text: String, reason: &'static str },
}

impl FieldPath {
    /// A path by its keys, which are taken as they are.
    pub fn of_keys<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self(Form::Keys(keys.into_iter().map(Into::into).collect()))
    }

    /// The keys from the outermost to that of the field; none if the text was no path.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        match &self.0 {
            Form::Keys(keys) => keys,
            Form::Malformed { .. } => &[],
        }
    }

    /// The value of the field, if it is there. Takes one look into a map per key.
    #[must_use]
    pub fn find<'a>(&self, metadata: &'a Metadata) -> Option<&'a Value> {
        let (first, inner) = self.keys().split_first()?;
        inner
            .iter()
            .try_fold(metadata.get(first)?, |value, key| value.as_object()?.get(key))
    }

    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match &self.0 {
            Form::Keys(keys) if keys.is_empty() => Some("it has no key"),
            Form::Keys(_) => None,
            Form::Malformed { reason, .. } => Some(reason),
        }
    }
}

impl From<String> for FieldPath {
    fn from(text: String) -> Self {
        Self(match read(&text) {
            Ok(keys) => Form::Keys(keys),
            Err(reason) => Form::Malformed { text, reason },
        })
    }
}

impl From<&str> for FieldPath {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}

impl From<&String> for FieldPath {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

fn read(text: &str) -> Result<Vec<String>, &'static str> {
    let mut keys = Vec::new();
    let mut rest = text;
    loop {
        let end = if rest.starts_with('"') {
            let (key, end) = strings::read_quoted(rest).map_err(|bad| bad.reason)?;
            keys.push(key);
            end
        } else {
            let end = rest.find(['.', '"']).unwrap_or(rest.len());
            match rest[end..].starts_with('"') {
                true => return Err("a quote stands inside a key; quote the whole key"),
                false if end == 0 => return Err("a key is empty; keys are separated by one dot"),
                false => keys.push(rest[..end].to_string()),
            }
            end
        };
        rest = &rest[end..];
        if rest.is_empty() {
            return Ok(keys);
        }
        rest = rest
            .strip_prefix('.')
            .ok_or("after a quoted key comes a dot or the end")?;
    }
}

impl fmt::Display for FieldPath {
    /// The text that becomes this path again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = match &self.0 {
            Form::Keys(keys) => keys,
            Form::Malformed { text, .. } => return f.write_str(text),
        };
        for (place, key) in keys.iter().enumerate() {
            if place > 0 {
                f.write_str(".")?;
            }
            if key.is_empty() || key.contains(['.', '"']) {
                strings::write_quoted(f, key)?;
            } else {
                f.write_str(key)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn a_path_reads_back_from_its_text(keys in prop::collection::vec(r#"[a-z. "\\é\n]{0,4}"#, 1..4)) {
            let path = FieldPath::of_keys(keys);
            prop_assert_eq!(FieldPath::from(path.to_string()), path);
        }

        #[test]
        fn any_text_is_a_path_or_says_why_not(text in r#"[a."\\]{0,8}"#) {
            let path = FieldPath::from(&text);
            prop_assert_eq!(path.problem().is_some(), path.keys().is_empty());
            if path.problem().is_some() {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }

    #[test]
    fn a_path_leads_into_objects_only_and_a_quoted_key_may_hold_dots() {
        let json = json!({"a": {"b": 1}, "a.b": 2, "": 3, "l": [{"b": 4}, 5], "n": null});
        let find = |path: &str| FieldPath::from(path).find(json.as_object().unwrap()).cloned();
        assert_eq!(find("a.b"), Some(json!(1)));
        assert_eq!(find("\"a.b\""), Some(json!(2)));
        assert_eq!(find("\"\""), Some(json!(3)));
        assert_eq!(find("n"), Some(json!(null)));
        for missing in [
            "l.b", "l.0", "n.b", "a.c", "a.b.c", "b", "", ".", "a.", ".a", "a..b", "\"a", "a\"b\"", "\"a\"b",
        ] {
            assert_eq!(find(missing), None, "{missing}");
        }
    }
}
