//! The serde form of a scope, for programs.
//!
//! JSON and other human-readable formats have its text: `"user:ada"`. They also accept the structured form, `{"User":
//! "ada"}` and `"Global"`. Other formats have the structured form only.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::scope::{ScopeError, StateScope};

/// The structured form, whose id is not checked yet.
#[derive(Serialize, Deserialize)]
#[serde(rename = "StateScope")]
enum Structured {
    Global,
    User(String),
    Session(String),
    Agent(String),
    Tool(String),
    Workflow(String),
    Hook(String),
    Custom(String),
}

impl From<StateScope> for Structured {
    fn from(scope: StateScope) -> Self {
        match scope {
            StateScope::Global => Self::Global,
            StateScope::User(id) => Self::User(id),
            StateScope::Session(id) => Self::Session(id),
            StateScope::Agent(id) => Self::Agent(id),
            StateScope::Tool(id) => Self::Tool(id),
            StateScope::Workflow(id) => Self::Workflow(id),
            StateScope::Hook(id) => Self::Hook(id),
            StateScope::Custom(id) => Self::Custom(id),
        }
    }
}

impl TryFrom<Structured> for StateScope {
    type Error = ScopeError;

    fn try_from(scope: Structured) -> Result<Self, ScopeError> {
        let scope = match scope {
            Structured::Global => Self::Global,
            Structured::User(id) => Self::User(id),
            Structured::Session(id) => Self::Session(id),
            Structured::Agent(id) => Self::Agent(id),
            Structured::Tool(id) => Self::Tool(id),
            Structured::Workflow(id) => Self::Workflow(id),
            Structured::Hook(id) => Self::Hook(id),
            Structured::Custom(id) => Self::Custom(id),
        };
        scope.validate()?;
        Ok(scope)
    }
}

impl Serialize for StateScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => Structured::from(self.clone()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for StateScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_any(Readable),
            false => checked(Structured::deserialize(deserializer)?),
        }
    }
}

fn checked<E: de::Error>(scope: Structured) -> Result<StateScope, E> {
    scope.try_into().map_err(E::custom)
}

struct Readable;

impl<'de> de::Visitor<'de> for Readable {
    type Value = StateScope;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a scope such as \"user:ada\", or {\"User\": \"ada\"}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<StateScope, E> {
        match text {
            "Global" => Ok(StateScope::Global),
            _ => text.parse().map_err(E::custom),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<StateScope, A::Error> {
        checked(Structured::deserialize(de::value::MapAccessDeserializer::new(map))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_its_text_and_the_structured_form_is_read() {
        let session = StateScope::session("s-1");
        assert_eq!(serde_json::to_string(&session).unwrap(), r#""session:s-1""#);
        assert_eq!(serde_json::to_string(&StateScope::Global).unwrap(), r#""global""#);
        let read = |json: &str| serde_json::from_str::<StateScope>(json);
        for json in [r#""session:s-1""#, r#"{"Session":"s-1"}"#] {
            assert_eq!(read(json).unwrap(), session);
        }
        for json in [r#""global""#, r#""Global""#] {
            assert_eq!(read(json).unwrap(), StateScope::Global);
        }
    }

    #[test]
    fn what_is_no_scope_is_refused_with_the_reason() {
        let error = |json: &str| serde_json::from_str::<StateScope>(json).unwrap_err().to_string();
        assert!(error(r#"{"User":""}"#).contains("the id is empty"));
        assert!(error(r#""user:""#).contains("the id is empty"));
        assert!(error(r#""tenant""#).contains("write `global` or `KIND:ID`"));
        assert!(error("7").contains("expected a scope such as"));
        assert!(error(r#"{"Tenant":"a"}"#).contains("unknown variant `Tenant`"));
    }
}
