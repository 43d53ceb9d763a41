//! Does the program do what its documentation says, for people and for programs?
//!
//! One binary, since each links the program's crates again.
//!
//! | file | question |
//! |---|---|
//! | `common/` | a database of a test, and the program that works on it |
//! | `verbs/` | what does each verb answer? |
//! | `errors.rs` | which exit code has a failure, and what does its text say to try? |
//! | `import.rs`, `formats.rs` | which files are read, and what happens to bad rows? |
//! | `export.rs` | does what was exported come back? |
//! | `embed.rs`, `migrate.rs` | how is a program asked for vectors? |
//! | `index.rs`, `model.rs`, `generate.rs` | indexes, models, made-up vectors |
//! | `demo_and_bench.rs`, `bench_models.rs` | the demo and the benchmarks, with little data |
//! | `texts.rs` | are texts imported, found by words, shown and exported? |
//! | `live.rs` | is a database that another process has open answered for like one that is opened? |
//! | `docs.rs` | do the examples of `docs/cli.md` run? |

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod bench_models;
mod common;
mod demo_and_bench;
mod docs;
#[cfg(unix)]
mod embed;
mod errors;
mod export;
mod formats;
mod generate;
mod import;
mod index;
#[cfg(unix)]
mod live;
#[cfg(unix)]
mod migrate;
mod model;
mod texts;
mod verbs;
