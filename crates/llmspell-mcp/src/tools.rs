//! The tools that a client sees.

use std::sync::Arc;

use rmcp::model::{Tool, ToolAnnotations};
use serde_json::Value;

use crate::arguments::schema;

/// What a tool does to the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Reads,
    /// Adds, and changes nothing that is there.
    Adds,
    /// Replaces or removes.
    Destroys,
}

/// Name, title, effect, description.
pub(crate) const TOOLS: [(&str, &str, Effect, &str); 8] = [
    (
        "remember",
        "Remember a text",
        Effect::Adds,
        "Stores a text for later: a fact, a preference, a decision, what happened. Returns its id. It never replaces an entry; \
         to correct one, forget it and remember the new text.",
    ),
    (
        "recall",
        "Recall what is relevant",
        Effect::Reads,
        "Finds the remembered texts that answer a query best. Use it before answering questions about people, projects or \
         earlier conversations.",
    ),
    (
        "forget",
        "Forget entries",
        Effect::Destroys,
        "Removes entries by their ids, for good. Returns how many there were.",
    ),
    (
        "list",
        "List entries",
        Effect::Reads,
        "Lists entries, the newest first, a page at a time.",
    ),
    (
        "get",
        "Get an entry",
        Effect::Reads,
        "Returns one entry by its id, with its metadata and times.",
    ),
    (
        "set_value",
        "Set a value",
        Effect::Destroys,
        "Stores a JSON value under a key, and replaces the one that was there: for settings and state that are looked up by \
         name, not searched for.",
    ),
    (
        "get_value",
        "Get a value",
        Effect::Reads,
        "Returns the JSON value of a key, or null if there is none.",
    ),
    (
        "stats",
        "Statistics",
        Effect::Reads,
        "Says which scopes this server sees, how many entries each has, and whether texts are found by meaning or by words only.",
    ),
];

/// The tools of a server.
pub(crate) fn tools(is_read_only: bool) -> Vec<Tool> {
    let offered = TOOLS.iter().filter(|(name, ..)| is_offered(name, is_read_only));
    offered
        .map(|(name, title, effect, description)| {
            let Value::Object(schema) = schema(name) else {
                unreachable!("a schema is an object")
            };
            let annotations = ToolAnnotations::with_title(*title)
                .read_only(*effect == Effect::Reads)
                .destructive(*effect == Effect::Destroys)
                .idempotent(*effect != Effect::Adds)
                .open_world(false);
            Tool::new(*name, *description, Arc::new(schema))
                .with_title(*title)
                .with_annotations(annotations)
        })
        .collect()
}

/// Whether a server has the tool.
pub(crate) fn is_offered(name: &str, is_read_only: bool) -> bool {
    let tool = TOOLS.iter().find(|(own, ..)| *own == name);
    tool.is_some_and(|(_, _, effect, _)| !is_read_only || *effect == Effect::Reads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_only_reads_offers_nothing_that_changes_anything() {
        let names = |is_read_only| {
            tools(is_read_only)
                .into_iter()
                .map(|tool| tool.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(false).len(), TOOLS.len());
        assert_eq!(names(true), ["recall", "list", "get", "get_value", "stats"]);
        for tool in tools(false) {
            let hints = tool.annotations.expect("each has hints");
            let changes = ["remember", "forget", "set_value"].contains(&&*tool.name);
            assert_eq!(hints.read_only_hint, Some(!changes), "{}", tool.name);
            let destroys = ["forget", "set_value"].contains(&&*tool.name);
            assert_eq!(hints.destructive_hint, Some(destroys), "{}", tool.name);
            assert_eq!(hints.open_world_hint, Some(false));
        }
    }
}
