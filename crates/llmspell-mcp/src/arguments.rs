//! What each tool takes, and what its schema says of that.

use llmspell_cli_base::time_arg::{parse_duration, parse_moment};
use llmspell_storage::{Filter, Metadata, StateScope, Timestamp};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};
use std::time::Duration;

use crate::limits::{FORGET_MAX, LIST_DEFAULT, LIST_MAX, RECALL_DEFAULT, RECALL_MAX, TEXT_BYTES_MAX, VALUE_BYTES_MAX};

/// `remember`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remember {
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) metadata: Option<Metadata>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) ttl: Option<Duration>,
    #[serde(default, deserialize_with = "moment")]
    pub(crate) event_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "scope")]
    pub(crate) scope: Option<StateScope>,
}

/// `recall`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recall {
    pub(crate) query: String,
    #[serde(default)]
    pub(crate) limit: Option<usize>,
    #[serde(default)]
    pub(crate) filter: Option<Filter>,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) half_life: Option<Duration>,
    #[serde(default, deserialize_with = "scope")]
    pub(crate) scope: Option<StateScope>,
}

/// `forget`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forget {
    pub(crate) ids: Vec<String>,
    #[serde(default, deserialize_with = "scope")]
    pub(crate) scope: Option<StateScope>,
}

/// `list`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    #[serde(default)]
    pub(crate) limit: Option<usize>,
    #[serde(default)]
    pub(crate) cursor: Option<String>,
    #[serde(default)]
    pub(crate) filter: Option<Filter>,
    #[serde(default, deserialize_with = "scope")]
    pub(crate) scope: Option<StateScope>,
}

/// `get`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Get {
    pub(crate) id: String,
    #[serde(default, deserialize_with = "scope")]
    pub(crate) scope: Option<StateScope>,
}

/// `set_value`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetValue {
    pub(crate) key: String,
    /// Null is a value; a missing one is an error.
    #[serde(deserialize_with = "any_value")]
    pub(crate) value: Value,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) ttl: Option<Duration>,
    #[serde(default, deserialize_with = "scope")]
    pub(crate) scope: Option<StateScope>,
}

/// `get_value`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetValue {
    pub(crate) key: String,
    #[serde(default, deserialize_with = "scope")]
    pub(crate) scope: Option<StateScope>,
}

/// `stats`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stats {}

fn any_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Value::deserialize(deserializer)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    parsed(deserializer, parse_duration)
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    parsed(deserializer, parse_moment)
}

fn scope<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StateScope>, D::Error> {
    parsed(deserializer, |text| {
        text.parse::<StateScope>().map_err(|error| error.to_string())
    })
}

fn parsed<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse(&text).map_err(de::Error::custom)).transpose()
}

/// The schema of the arguments of a tool.
pub(crate) fn schema(tool: &str) -> Value {
    let scope = json!({"type": "string", "description": "Whose memory, such as user:ada; one of the scopes of this server. Default: for reading all of them, for writing the first"});
    let filter = json!({"type": "object", "description": "Only entries whose metadata match, such as {\"eq\": {\"field\": \"lang\", \"value\": \"en\"}}; also ne, lt, le, gt, ge, in, contains, exists, and, or, not"});
    let ttl = json!({"type": "string", "description": "Time until it is forgotten by itself, such as 30min, 12h or 7d. Default: never"});
    let (properties, required): (Value, &[&str]) = match tool {
        "remember" => (
            json!({
                "text": {"type": "string", "description": "What is to be remembered, in full sentences that make sense alone", "minLength": 1, "maxLength": TEXT_BYTES_MAX},
                "id": {"type": "string", "description": "Id within its scope. Default: a new one"},
                "metadata": {"type": "object", "description": "Fields to filter by later"},
                "event_time": {"type": "string", "description": "When it happened: a date or an RFC 3339 time"},
                "ttl": ttl, "scope": scope,
            }),
            &["text"],
        ),
        "recall" => (
            json!({
                "query": {"type": "string", "description": "What is looked for. Quotes keep words together, -word excludes one, wor* matches beginnings", "minLength": 1},
                "limit": {"type": "integer", "minimum": 1, "maximum": RECALL_MAX, "default": RECALL_DEFAULT},
                "half_life": {"type": "string", "description": "Rank newer ones higher: half of a score is left after this time, such as 7d"},
                "filter": filter, "scope": scope,
            }),
            &["query"],
        ),
        "forget" => (
            json!({
                "ids": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": FORGET_MAX},
                "scope": scope,
            }),
            &["ids"],
        ),
        "list" => (
            json!({
                "limit": {"type": "integer", "minimum": 1, "maximum": LIST_MAX, "default": LIST_DEFAULT},
                "cursor": {"type": "string", "description": "`next` of the page before, unchanged"},
                "filter": filter, "scope": scope,
            }),
            &[],
        ),
        "get" => (json!({"id": {"type": "string"}, "scope": scope}), &["id"]),
        "set_value" => (
            json!({
                "key": {"type": "string", "minLength": 1},
                "value": {"description": format!("Any JSON, at most {VALUE_BYTES_MAX} bytes")},
                "ttl": ttl, "scope": scope,
            }),
            &["key", "value"],
        ),
        "get_value" => (
            json!({"key": {"type": "string", "minLength": 1}, "scope": scope}),
            &["key"],
        ),
        _ => (json!({}), &[]),
    };
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}
