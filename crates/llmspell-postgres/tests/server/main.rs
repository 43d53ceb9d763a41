//! The tests with a server: they say that they were left out where there is none.
//!
//! | file           | question                                                     |
//! |----------------|--------------------------------------------------------------|
//! | `common.rs`    | which server, and how are schemas made and removed?          |
//! | `proxy.rs`     | how is a connection cut after some messages?                 |
//! | `key_value.rs` | does the store of keys keep the contract?                    |
//! | `vectors.rs`   | does the store of vectors?                                   |
//! | `filters.rs`   | does SQL decide as compiled filters do?                      |
//! | `index.rs`     | are indexes used, and answers right with them?               |
//! | `isolation.rs` | what can a role reach by raw SQL?                            |
//! | `schema.rs`    | who may create tables, and what if they are there?           |
//! | `failures.rs`  | what if connections are lost, or transactions collide?       |

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for code")]

mod common;
mod failures;
mod filters;
mod index;
mod isolation;
mod key_value;
mod proxy;
mod schema;
mod vectors;
