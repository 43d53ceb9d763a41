//! Embedded storage for AI agents: key-value state and vector memory, for many tenants, in one directory.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod committer;
mod pool;

pub mod backends;

pub use llmspell_core::*;
