//! The stores of llmspell-core on PostgreSQL with pgvector: for data that several servers share, or that outgrew one machine.
//!
//! [`PostgresBackend`] is a [`StorageBackend`](llmspell_core::StorageBackend) and [`PostgresVectors`] a
//! [`VectorStorage`](llmspell_core::VectorStorage); both come from a [`PostgresDatabase`], and both pass the suites of
//! llmspell-conformance. Needs PostgreSQL 15 or later with pgvector 0.8.4 or later, and a tokio runtime.
//!
//! ```no_run
//! # async fn example() -> llmspell_core::Result<()> {
//! use llmspell_core::{HNSWConfig, VectorEntry, VectorQuery};
//! use llmspell_postgres::{PostgresConfig, PostgresDatabase};
//!
//! let config = PostgresConfig::new("postgres://app@db.example.org/memory");
//! let database = PostgresDatabase::open(config).await?;
//! let notes = database.vectors("notes", 3, HNSWConfig::balanced()).await?;
//! notes.insert(vec![VectorEntry::new("a", [0.1, 0.2, 0.3])]).await?;
//! let found = notes.search(&VectorQuery::new([0.1, 0.2, 0.3], 10)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Isolation
//!
//! Each row has the scope of its entry or key, and row-level security shows a transaction only the rows of the scope that it
//! named. A forgotten condition finds nothing, even for the owner of the tables. A role that is
//! [bound to a scope](PostgresDatabase::bind_role) cannot name another one, whatever SQL it sends. Superusers and roles with
//! `BYPASSRLS` are above all of this: applications log in as neither.
//!
//! | folder or file | question                                                             |
//! |----------------|----------------------------------------------------------------------|
//! | `config.rs`    | which server, which schema, how many connections? [`PostgresConfig`] |
//! | `error.rs`     | which error of the server is which [`StorageError`](llmspell_core::StorageError)? |
//! | `schema/`      | which tables are there, which roles may use them, how do versions change them? |
//! | `sql.rs`       | which pieces of SQL do modules share?                                |
//! | `session.rs`   | how is a transaction confined to a scope, and when is it repeated?    |
//! | `database.rs`  | how is the server opened and prepared? [`PostgresDatabase`]            |
//! | `request.rs`   | how is a write done once though it is sent twice?                     |
//! | `key_value/`   | how are keys stored and scanned? [`PostgresBackend`]                  |
//! | `vectors/`     | how are entries stored, filtered and searched? [`PostgresVectors`]    |

#![forbid(unsafe_code)]

mod config;
mod database;
mod error;
mod key_value;
mod request;
mod schema;
mod session;
mod sql;
mod vectors;

pub use config::PostgresConfig;
pub use database::PostgresDatabase;
pub use key_value::PostgresBackend;
pub use vectors::PostgresVectors;
