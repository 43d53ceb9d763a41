//! Scopes on the command line and in files.
//!
//! In its text form (`user:ada`, `global`), or as a word alone, which means `custom:WORD`. In JSON also in the form of
//! serde (`{"User": "ada"}`).

use std::str::FromStr;

use llmspell_storage::{ScopeError, StateScope};
use serde_json::Value;

/// A scope as the user typed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeArg(pub StateScope);

impl FromStr for ScopeArg {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        // The text that serde writes for the global scope, which is no tenant's name.
        if text == "Global" {
            return Ok(Self(StateScope::Global));
        }
        let is_word = !text.contains(':') && text != "global";
        let scope = match text {
            // A kind without an id: "no owner" must not become an owner with a strange name.
            "user" | "session" | "agent" | "tool" | "workflow" | "hook" | "custom" => format!("{text}:").parse(),
            _ if is_word => format!("custom:{text}").parse(),
            _ => text.parse(),
        };
        scope.map(Self)
    }
}

/// Reads the scope of a JSON row.
pub fn scope_from_json(value: Value) -> Result<StateScope, String> {
    match value {
        Value::Null => Ok(StateScope::Global),
        Value::String(text) => text
            .parse::<ScopeArg>()
            .map(|scope| scope.0)
            .map_err(|error| error.to_string()),
        other => serde_json::from_value(other).map_err(|error| format!("not a scope: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scope(text: &str) -> StateScope {
        text.parse::<ScopeArg>().unwrap().0
    }

    #[test]
    fn a_word_alone_is_a_custom_scope() {
        assert_eq!(scope("nomicon"), StateScope::Custom("nomicon".into()));
        assert_eq!(scope("user:ada"), StateScope::User("ada".into()));
        assert_eq!(scope("custom:tenant:7"), StateScope::Custom("tenant:7".into()));
        assert_eq!(scope("global"), StateScope::Global);
        assert_eq!(scope("Global"), StateScope::Global);
        assert_eq!(scope("100%25"), StateScope::Custom("100%".into()));
    }

    #[test]
    fn a_kind_without_id_and_an_unknown_kind_are_refused() {
        for text in ["", "user", "user:", "custom", "tenant:7", "global:x", "%zz"] {
            assert!(text.parse::<ScopeArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn json_may_use_either_form() {
        let ada = StateScope::User("ada".into());
        assert_eq!(scope_from_json(json!("user:ada")).unwrap(), ada);
        assert_eq!(scope_from_json(json!({"User": "ada"})).unwrap(), ada);
        assert_eq!(scope_from_json(Value::Null).unwrap(), StateScope::Global);
        assert!(scope_from_json(json!(["user", "ada"])).is_err());
    }
}
