//! [`FieldPath`]: the path to a field of the metadata.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::condition::Filter;
use super::error::FilterError;
use super::text::strings;
use super::times::OwnTime;
use crate::fields::Metadata;

/// The path to a field: its key, preceded by the keys of the objects around it.
///
/// Written with dots: `meta.author` is the key `author` in the object under the key `meta`. A key that contains a dot
/// or a quote, or is empty, is quoted like a JSON string: `"a.b".c`. Converting a text to a path never fails: text that
/// is no path (`a..b`) is kept, names no field, and is refused when the filter is checked.
///
/// Unquoted, `@event_time`, `@created_at` and `@updated_at` are not keys but [times](OwnTime) of the entry; other
/// unquoted names that begin with `@` are refused. Quote a key that begins with it: `"@type"`.
///
/// ```
/// # use llmspell_core::filter::FieldPath;
/// assert_eq!(FieldPath::from("meta.author").keys(), ["meta", "author"]);
/// assert_eq!(FieldPath::from(r#""a.b".c"#).keys(), ["a.b", "c"]);
/// assert_eq!(FieldPath::of_keys(["a.b", "c"]).to_string(), r#""a.b".c"#);
/// assert!("meta..author".parse::<FieldPath>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Form);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    Keys(Vec<String>),
    Time(OwnTime),
    Malformed { text: String, reason: &'static str },
}

impl FieldPath {
    /// A path from its keys, which are not parsed.
    pub fn of_keys<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self(Form::Keys(keys.into_iter().map(Into::into).collect()))
    }

    /// The keys from the outermost to that of the field; empty for a time, or if the text was no path.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        match &self.0 {
            Form::Keys(keys) => keys,
            Form::Time(_) | Form::Malformed { .. } => &[],
        }
    }

    /// The time of the entry that it names instead of a field.
    #[must_use]
    pub fn own_time(&self) -> Option<OwnTime> {
        match self.0 {
            Form::Time(time) => Some(time),
            Form::Keys(_) | Form::Malformed { .. } => None,
        }
    }

    /// The value of the field, if it exists. Takes one look-up in a map per key.
    #[must_use]
    pub fn find<'a>(&self, metadata: &'a Metadata) -> Option<&'a Value> {
        let (first, inner) = self.keys().split_first()?;
        inner
            .iter()
            .try_fold(metadata.get(first)?, |value, key| value.as_object()?.get(key))
    }

    /// The same path with this problem, unless it already has one.
    pub(super) fn refused(self, reason: &'static str) -> Self {
        match self.problem() {
            Some(_) => self,
            None => Self(Form::Malformed {
                text: self.to_string(),
                reason,
            }),
        }
    }

    /// The problem of the path, if any.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match &self.0 {
            Form::Keys(keys) if keys.is_empty() => Some("it has no key"),
            Form::Keys(_) | Form::Time(_) => None,
            Form::Malformed { reason, .. } => Some(reason),
        }
    }
}

impl From<String> for FieldPath {
    fn from(text: String) -> Self {
        let form = match text.starts_with('@') {
            true => OwnTime::named(&text).map(Form::Time),
            false => read(&text).map(Form::Keys),
        };
        Self(form.unwrap_or_else(|reason| Form::Malformed { text, reason }))
    }
}

impl FromStr for FieldPath {
    type Err = FilterError;

    /// Parses a path.
    ///
    /// # Errors
    ///
    /// [`FilterError`] for a text that is no path.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let path = Self::from(text);
        Filter::exists(path.clone()).validate()?;
        Ok(path)
    }
}

impl From<OwnTime> for FieldPath {
    fn from(time: OwnTime) -> Self {
        Self(Form::Time(time))
    }
}

impl From<&str> for FieldPath {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}

impl From<&FieldPath> for FieldPath {
    fn from(path: &FieldPath) -> Self {
        path.clone()
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
                true => return Err("a quote inside a key; quote the whole key"),
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
    /// The text that parses to this path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = match &self.0 {
            Form::Keys(keys) => keys,
            Form::Time(time) => return f.write_str(time.name()),
            Form::Malformed { text, .. } => return f.write_str(text),
        };
        for (place, key) in keys.iter().enumerate() {
            if place > 0 {
                f.write_str(".")?;
            }
            let is_like_a_time = place == 0 && key.starts_with('@');
            if key.is_empty() || key.contains(['.', '"']) || is_like_a_time {
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
        fn a_path_reads_back_from_its_text(keys in prop::collection::vec(r#"[@a-z. "\\é\n]{0,4}"#, 1..4)) {
            let path = FieldPath::of_keys(keys);
            prop_assert_eq!(FieldPath::from(path.to_string()), path);
        }

        #[test]
        fn any_text_is_a_path_or_says_why_not(text in r#"(@event_time|@created_at|@)?[a."\\]{0,8}"#) {
            let path = FieldPath::from(&text);
            let is_one = !path.keys().is_empty() || path.own_time().is_some();
            prop_assert_eq!(path.problem().is_none(), is_one);
            prop_assert_eq!(text.parse::<FieldPath>().ok(), is_one.then_some(path.clone()));
            if path.problem().is_some() {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }

    #[test]
    fn a_time_of_the_entry_is_no_key() {
        for time in OwnTime::ALL {
            let path = FieldPath::from(time.name());
            assert_eq!(
                (path.own_time(), path.keys().len(), path.problem()),
                (Some(time), 0, None)
            );
            assert_eq!(path.to_string(), time.name());
            let key = FieldPath::of_keys([time.name()]);
            assert_eq!(
                (key.own_time(), key.to_string()),
                (None, format!("\"{}\"", time.name()))
            );
            let json = json!({time.name(): 1});
            assert_eq!(path.find(json.as_object().unwrap()), None);
            assert_eq!(key.find(json.as_object().unwrap()), Some(&json!(1)));
        }
        for unknown in [
            "@",
            "@type",
            "@event_time.a",
            "@event_time\"a\"",
            "@Event_time",
            "@event_time ",
        ] {
            assert!(FieldPath::from(unknown).problem().is_some(), "{unknown}");
        }
        assert_eq!(FieldPath::from("a.@type").keys(), ["a", "@type"]);
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
