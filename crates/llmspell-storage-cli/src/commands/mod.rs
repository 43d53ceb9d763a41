//! The verbs, one file each, named after the verb; `dispatch.rs` chooses.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod clock;
pub(crate) mod compact;
pub(crate) mod completions;
pub(crate) mod count;
pub(crate) mod delete;
pub(crate) mod demo;
mod embedder;
pub(crate) mod entry_view;
pub(crate) mod export;
pub(crate) mod facet;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod index;
pub(crate) mod kv;
pub(crate) mod list;
#[cfg(feature = "mcp")]
pub(crate) mod mcp;
pub(crate) mod migrate;
pub(crate) mod model;
pub(crate) mod recall;
mod rejected;
pub(crate) mod repair;
mod restore;
pub(crate) mod sample;
pub(crate) mod scope;
pub(crate) mod search;
pub(crate) mod serve;
pub(crate) mod space;
pub(crate) mod stats;
pub(crate) mod touch;
