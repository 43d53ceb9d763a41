//! How is a filter written on a command line?

use clap::Args;
use llmspell_storage::{DateFields, Filter, Scalar, StorageError};
use serde_json::Value;

use crate::errors::{CliError, FILTER_HINT};

/// Conditions on metadata.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only entries whose metadata match: 'size > 100 and lang = "en"', FIELD=VALUE, or JSON; all of them, if several are
    /// given
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
}

impl FilterArgs {
    /// All conditions as one; none if there are none.
    pub(crate) fn filter(&self) -> Result<Option<Filter>, CliError> {
        let filters = self.filters.iter().map(|text| parse(text));
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        Ok((!filters.is_empty()).then(|| Filter::all_of(filters)))
    }
}

/// The JSON form, the text form, or `FIELD=VALUE` (the value as JSON if it is that, else as text) without spaces.
fn parse(text: &str) -> Result<Filter, CliError> {
    let invalid = |reason: String| CliError::Usage {
        message: format!("bad filter: {reason}"),
        hint: FILTER_HINT.into(),
    };
    if text.trim_start().starts_with('{') {
        let json = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        return Ok(Filter::from_json(&json).map_err(StorageError::from)?);
    }
    let error = match Filter::parse(text, &DateFields::none()) {
        Ok(filter) => return Ok(filter),
        Err(error) => error,
    };
    let is_word = |part: &str| !part.is_empty() && !part.contains([' ', '\t', '\n', '(', ')', '<', '>', '!']);
    match text.split_once('=') {
        Some((field, value)) if is_word(field) && is_word(value) => {
            let value = match serde_json::from_str::<Value>(value) {
                Ok(json) => Scalar::try_from(&json).map_err(|error| invalid(error.to_string()))?,
                Err(_) => Scalar::from(value),
            };
            let filter = Filter::eq(field, value);
            filter.validate().map_err(StorageError::from)?;
            Ok(filter)
        }
        _ => Err(StorageError::from(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_text_or_short_or_json() {
        assert_eq!(parse("lang=en").unwrap(), Filter::eq("lang", "en"));
        assert_eq!(parse("year=2026").unwrap(), Filter::eq("year", 2026));
        assert_eq!(parse("year=\"2026\"").unwrap(), Filter::eq("year", "2026"));
        assert_eq!(parse("note=a=b").unwrap(), Filter::eq("note", "a=b"));
        assert_eq!(parse("gone=null").unwrap(), Filter::eq("gone", Scalar::Null));
        let json = r#"{"in": {"field": "lang", "values": ["en"]}}"#;
        assert_eq!(parse(json).unwrap(), Filter::is_in("lang", ["en"]));
        let both = Filter::gt("size", 100).and(Filter::eq("lang", "en"));
        assert_eq!(parse("size > 100 and lang = \"en\"").unwrap(), both);
        for text in [
            "lang",
            "=en",
            "{\"like\": 1}",
            "{",
            "tags=[1]",
            "a..b=1",
            "",
            "a=1 and b >> 2",
            "size>=en",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
