//! Filters on the command line.

use clap::Args;
use llmspell_storage::filter::FilterPlace;
use llmspell_storage::{DateFields, Filter, FilterError, Scalar};
use serde_json::Value;

use llmspell_cli_base::errors::{CliError, FILTER_HINT};

/// Conditions on metadata.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only entries whose metadata match: "size > 100 and lang == 'en'", FIELD=VALUE, or JSON; all of them, if several
    /// are given; `@event_time`, `@created_at` and `@updated_at` are the times of entries
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
}

impl FilterArgs {
    /// All conditions as one, before it is known which fields hold dates; none if there are none.
    pub(crate) fn filter(&self) -> Result<Option<Filter>, CliError> {
        let filters = self.filters.iter().map(|text| parse(text, None));
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        Ok((!filters.is_empty()).then(|| Filter::all_of(filters)))
    }

    /// That they are sound where these fields hold dates.
    pub(crate) fn check(&self, dates: &DateFields) -> Result<(), CliError> {
        self.filters
            .iter()
            .try_for_each(|text| parse(text, Some(dates)).map(drop))
    }
}

/// The JSON form, the text form, or `FIELD=VALUE` (the value as JSON if it is that, else as text) without spaces.
fn parse(text: &str, dates: Option<&DateFields>) -> Result<Filter, CliError> {
    let checked = |filter: Filter| match dates {
        Some(dates) => filter.validate_with(dates).map(|()| filter),
        None => Ok(filter),
    };
    let invalid = |reason: String| CliError::usage(format!("bad filter: {reason}"), FILTER_HINT);
    let refused = |error: FilterError| invalid(pointed_at(text, &error));
    if text.trim_start().starts_with('{') {
        let json = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        return Filter::from_json(&json).and_then(checked).map_err(refused);
    }
    let read = match dates {
        Some(dates) => Filter::parse(text, dates),
        None => text.parse(),
    };
    let error = match read {
        Ok(filter) => return Ok(filter),
        Err(error) => error,
    };
    let is_word = |part: &str| {
        !part.is_empty()
            && !part.contains([' ', '\t', '\n', '(', ')', '<', '>', '!'])
            && !["&&", "||"].iter().any(|joins| part.contains(joins))
    };
    match text.split_once("==").or_else(|| text.split_once('=')) {
        Some((field, value)) if is_word(field) && is_word(value) => {
            let value = match serde_json::from_str::<Value>(value) {
                Ok(json) => Scalar::try_from(&json).map_err(|error| invalid(error.to_string()))?,
                Err(_) => Scalar::from(value),
            };
            let filter = Filter::eq(field, value);
            filter.validate().map_err(refused)?;
            checked(filter).map_err(refused)
        }
        _ => Err(refused(error)),
    }
}

/// Characters that are shown before and after the place of an error.
const SHOWN_CHARS: usize = 40;

/// What is wrong, and below it the place in the text, with a caret.
fn pointed_at(text: &str, error: &FilterError) -> String {
    let FilterPlace::Column(column) = error.place() else {
        return error.to_string();
    };
    let at = column - 1;
    let begin = at.saturating_sub(SHOWN_CHARS);
    let shown: String = text
        .chars()
        .skip(begin)
        .take(at - begin + SHOWN_CHARS)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    format!("{error}\n  {}\n  {}^", shown.trim_end(), " ".repeat(at - begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_checked_once_the_fields_are_known() {
        let dates = DateFields::of(["when"]).unwrap();
        for text in [
            "when > \"2026-01-01\"",
            "when=2026-01-01",
            r#"{"gt": {"field": "when", "value": "2026-01-01"}}"#,
            "when between \"2026-01-01T05:00:00+06:00\" and \"2026-01-01\"",
        ] {
            parse(text, None).unwrap();
            parse(text, Some(&dates)).unwrap();
        }
        for (text, place) in [
            ("a = 1 and when > \"soon\"", "column 18"),
            ("when=soon", "at /eq/value"),
            (r#"{"gt": {"field": "when", "value": 5}}"#, "at /gt/value"),
        ] {
            parse(text, None).unwrap();
            let error = parse(text, Some(&dates)).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
    }

    #[test]
    fn a_caret_stands_under_the_place_of_an_error_however_long_the_text_is() {
        let long = format!("{}\tand é >> 2", vec!["a = 1"; 30].join(" and "));
        for text in ["é = ", "a >> 1", &long] {
            let error = parse(text, None).unwrap_err().to_string();
            let lines: Vec<_> = error.lines().collect();
            let caret = lines[2].chars().count() - 1;
            let before: String = lines[1].chars().take(caret).skip(2).collect();
            assert!(lines[1].chars().count() <= 2 + 2 * SHOWN_CHARS, "{error}");
            assert!(lines[2].ends_with(" ^"), "{error}");
            assert!(text.replace('\t', " ").contains(before.trim_end()), "{error}");
        }
        let error = parse("a = 1 and b >> 2", None).unwrap_err().to_string();
        let expected = "\n  a = 1 and b >> 2\n               ^";
        assert!(error.ends_with(expected), "{error}");
    }

    #[test]
    fn a_filter_is_text_or_short_or_json() {
        let parse = |text: &str| parse(text, None);
        assert_eq!(parse("lang=en").unwrap(), Filter::eq("lang", "en"));
        assert_eq!(parse("year=2026").unwrap(), Filter::eq("year", 2026));
        assert_eq!(parse("year=\"2026\"").unwrap(), Filter::eq("year", "2026"));
        assert_eq!(parse("note=a=b").unwrap(), Filter::eq("note", "a=b"));
        assert_eq!(parse("lang==en").unwrap(), Filter::eq("lang", "en"));
        assert_eq!(parse("year==2026").unwrap(), Filter::eq("year", 2026));
        assert_eq!(parse("lang='en'").unwrap(), Filter::eq("lang", "en"));
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
            "lang=en&&year=1",
            "lang==en||year=1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
